"""What a training of films leaves and reads again: moments are made again where they are damaged, a model is refused in
one line that says what to do. Another input under the same name is refused by its name."""
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from damages import DAMAGES, harm
from tiers import nightly

pytest.importorskip("av")
pytest.importorskip("scenedetect")
pytest.importorskip("peft")

from dclm_nb.core.errors import UserError  # noqa: E402
from dclm_nb.core.files import PARTS, note_sum, sum_beside  # noqa: E402
from dclm_nb.video import training as t  # noqa: E402
from dclm_nb.video.lora import load_lora  # noqa: E402
from dclm_nb.video.models import NetworkSizes, load_video_model  # noqa: E402
from dclm_nb.video.pipeline import curate_films  # noqa: E402
from test_damaged_films import QUICK, artefacts, content, two_films  # noqa: E402

SMALL = t.VideoTraining(frames=4, moments=1, fps=None, captions="own", steps=5, batch=2, looks=2, checkpoint_every=2,
                        network=NetworkSizes(widths=(16, 32), lanes=(2, 4)), size=(16, 16))


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path: return two_films(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def report(films, tmp_path_factory): return curate_films(films, tmp_path_factory.mktemp("out"), QUICK, workers=1)


@pytest.fixture(scope="module")
def kept(report, tmp_path_factory) -> dict[str, Path]:
    "Folders in which a model was trained, by stage."
    folder, begun = tmp_path_factory.mktemp("trained"), {}
    for stage, start in dict(video="", i2v="video", camera="i2v").items():
        begun[stage] = t.train_video(report.folder, folder / stage, stage, SMALL, begun.get(start)).parent
    return begun


@pytest.fixture
def copy(kept, tmp_path) -> Path: return shutil.copytree(kept["video"], tmp_path / "video")


MOMENTS = ["told.json", "latents.f32", "codec.json", "first.npy"]
REFUSED = ["stage.json", "clips/whose.json", "model/model.json", "model/network.safetensors", "model/codec.json",
           "training/losses.csv", "training/looks.jsonl"]
SOME = ["one bit", "deleted"]
WAYS = [*SOME, *nightly(*(way for way in DAMAGES if way not in SOME))]


def test_the_tables_of_parts_name_every_file_of_a_training(kept):
    # the note on whose a training is is read by a training that goes on, and by nobody else
    assert set(artefacts(kept["video"])) - {"training/run.json"} == {*(f"clips/{part}" for part in MOMENTS), *REFUSED}


@pytest.mark.parametrize("part", MOMENTS)
@pytest.mark.parametrize("how", WAYS)
def test_damaged_moments_of_a_training_are_made_again(report, copy, capsys, part, how):
    before = content(copy)
    harm(copy / "clips" / part, how)
    t.train_video(report.folder, copy, "video", SMALL)
    assert content(copy) == before and f"{part} " in capsys.readouterr().err


@pytest.mark.parametrize("part", REFUSED)
@pytest.mark.parametrize("how", WAYS)
def test_a_damaged_training_is_refused_by_the_name_of_its_part(report, copy, part, how):
    harm(copy / part, how)
    before = content(copy)
    with pytest.raises(UserError, match=rf"^(?!.*\n).*{Path(part).name}.*(remove|choose)"):
        t.train_video(report.folder, copy, "video", SMALL)
    assert content(copy) == before


FOREIGN = ["model/network.safetensors", "training/losses.csv", "training/looks.jsonl"]


@pytest.mark.parametrize("part", FOREIGN)
@pytest.mark.parametrize("sums", ["its own", "none"])
def test_a_part_of_another_training_is_refused_by_its_name(report, kept, copy, part, sums):
    "Every file is whole by itself: only the list of the folder's parts knows that they do not belong together."
    for beside in (lambda path: path, sum_beside): shutil.copy(beside(kept["i2v"] / part), beside(copy / part))
    if sums == "none": sum_beside(copy / part).unlink()
    before = content(copy)
    with pytest.raises(UserError, match=rf"^(?!.*\n).*{part}.*remove"):
        t.train_video(report.folder, copy, "video", SMALL)
    assert content(copy) == before


@pytest.mark.parametrize("part", ["codec.json", "first.npy", "told.json", "latents.f32"])
def test_moments_of_another_set_are_made_again(report, kept, copy, tmp_path, capsys, part):
    "With its sum, from a training with another seed that looks at the same clips; also before there is a model."
    other = t.train_video(report.folder, tmp_path / "other", "video", SMALL, seed=3).parent
    for folder in ("model", "training"): shutil.rmtree(copy / folder)
    (copy / PARTS).unlink()
    before = (copy / "clips" / part).read_bytes()
    if (other / "clips" / part).read_bytes() == before: pytest.skip("the same in both")
    for beside in (lambda path: path, sum_beside):
        shutil.copy(beside(other / "clips" / part), beside(copy / "clips" / part))
    t.train_video(report.folder, copy, "video", SMALL)
    assert (copy / "clips" / part).read_bytes() == before and f"clips/{part} " in capsys.readouterr().err
    # a sum knows what was there before, too
    own = lambda folder: {name: data for name, data in content(folder).items() if not name.endswith(".sum")}
    assert own(copy) == own(kept["video"])


@pytest.mark.parametrize("how", DAMAGES)
def test_a_note_that_only_an_unfinished_training_needs_costs_nothing(report, copy, capsys, how):
    (copy / "training" / "run.json").write_text("{}")               # as an earlier version has left it
    note_sum(copy / "training" / "run.json")
    harm(copy / "training" / "run.json", how)
    t.train_video(report.folder, copy, "video", SMALL)
    assert "it was there already" in capsys.readouterr().out


def test_a_training_of_an_earlier_version_is_read_with_a_line(report, copy, capsys):
    (copy / PARTS).unlink()
    t.train_video(report.folder, copy, "video", SMALL)
    said = capsys.readouterr()
    assert "it was there already" in said.out and "cannot be checked" in said.err


def test_a_model_whose_list_of_parts_was_not_written_is_trained_to_its_end(report, kept, tmp_path, monkeypatch):
    def dying(*what): raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(t, "note_parts", dying)
        with pytest.raises(KeyboardInterrupt): t.train_video(report.folder, tmp_path / "out", "video", SMALL)
    assert (tmp_path / "out" / "model" / "model.json").is_file()
    t.train_video(report.folder, tmp_path / "out", "video", SMALL)
    assert content(tmp_path / "out") == content(kept["video"])


@pytest.mark.parametrize("how", DAMAGES)
def test_the_file_of_a_camera_move_is_checked(report, kept, tmp_path, how):
    copy = shutil.copytree(kept["camera"], tmp_path / "camera")
    harm(copy / "camera.safetensors", how)
    with pytest.raises(UserError, match=r"^(?!.*\n).*camera.safetensors.*remove"):
        t.train_video(report.folder, copy, "camera", SMALL, kept["i2v"])
    network = load_video_model(kept["i2v"]).network
    with pytest.raises(UserError, match=r"^(?!.*\n).*camera.safetensors"):
        load_lora(network.unet, copy / "camera.safetensors", where=t._WHERE["mixing"])


OTHERS = dict(
    frames=6, size=(32, 32), fps=8.0, moments=2, captions="told", length=4, elevation=10.0,
    network=NetworkSizes(widths=(16, 32), lanes=(4, 4)), factor=4, steps=6, batch=3, lr=1e-4, levels=(0.0, 1.0),
    caption_drop=0.5, ema=0.5, warmup=0, decay=0.5, highest=70.0, lowest=0.1, strategy="ddp", precision="bf16-mixed",
    devices=2, nodes=2, rank=2,
)
NEVER_DECIDE = {"looks", "stop", "checkpoint_every"}                # what is looked at, and how often it is kept
FOLDERS = {"vae", "text"}                                           # of other models: their content stands in the key


def test_every_setting_of_a_training_is_tried():
    assert OTHERS.keys() | NEVER_DECIDE | FOLDERS == vars(SMALL).keys()


QUICK_ONES = ("frames", "steps", "precision", "lowest", "rank")


@pytest.mark.parametrize("name", [*QUICK_ONES, *nightly(*(name for name in OTHERS if name not in QUICK_ONES))])
def test_another_setting_under_the_same_name_is_refused_by_its_name(report, kept, name):
    stage = "camera" if name == "rank" else "video"
    before, start = content(kept[stage]), kept["i2v"] if stage == "camera" else None
    named = dict(captions="mix", network="lanes", length="length", elevation="clips").get(name, name)
    with pytest.raises(UserError, match=rf"^(?!.*\n).*holds another .*different .*{named}.*choose another .*--out"):
        t.train_video(report.folder, kept[stage], stage, replace(SMALL, **{name: OTHERS[name]}), start)
    assert content(kept[stage]) == before


def test_another_seed_stage_start_or_input_is_refused_by_its_name(films, report, kept, tmp_path):
    other = curate_films(films, tmp_path, replace(QUICK, filters=()), workers=1).folder
    cases = [(dict(seed=1), "seed"), (dict(stage="hq"), "stage"), (dict(start=kept["video"]), "codec"),
             (dict(data=other), r"0000\d.tar")]
    for given, named in cases:
        call = dict(data=report.folder, out=kept["video"], stage="video", how=SMALL) | given
        with pytest.raises(UserError, match=rf"^(?!.*\n).*different .*{named}.*choose another folder"):
            t.train_video(**call)


def test_what_never_decides_is_no_other_training(report, kept, capsys):
    t.train_video(report.folder, kept["video"], "video", replace(SMALL, looks=3, stop=True, checkpoint_every=3))
    assert "it was there already" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["shards/00000.tar", "shards/00000_stats.json", "report.json"])
@pytest.mark.parametrize("how", WAYS)
def test_damaged_shards_are_not_trained_on(report, tmp_path, part, how):
    copy = shutil.copytree(report.folder, tmp_path / "curated" / report.key)
    harm(copy / part, how)
    with pytest.raises(UserError, match=rf"^(?!.*\n).*({Path(part).stem}|clips instead of|finished).*curate video"):
        t.train_video(copy.parent, tmp_path / "out", "video", SMALL)
    if part == "report.json": return                                # whoever names shards needs no report
    with pytest.raises(UserError, match=rf"^(?!.*\n).*({Path(part).stem}|clips instead of)"):
        t.train_video(copy / "shards", tmp_path / "out", "video", SMALL)


def test_another_film_of_the_same_name_is_refused_by_what_is_different(kept, tmp_path):
    from PIL import Image
    from dclm_nb.cli import sample_video
    for name, grey in (("a", 90), ("b", 120)): Image.new("RGB", (40, 30), (grey, 0, 0)).save(tmp_path / f"{name}.png")
    (tmp_path / "other").mkdir()
    Image.new("RGB", (40, 30), (0, 0, 90)).save(tmp_path / "other" / "a.png")
    call = dict(out=str(tmp_path / "out"), model=str(kept["i2v"]), image=[str(tmp_path / "a.png")], steps=2)
    sample_video(**call)
    before = content(tmp_path / "out")
    for path in tmp_path.glob("out/*.[mgp]*"): path.write_bytes(b"damaged")
    sample_video(**call)
    assert content(tmp_path / "out") == before                                      # made again
    strip = np.asarray(Image.open(next(tmp_path.glob("out/*.png"))))
    assert strip.shape[1] > 4.5 * strip.shape[0] and (strip[:40, :40, 0] == 90).all()   # what was given comes first
    namesake = [str(tmp_path / "other" / "a.png")]
    for given, named in [(dict(guidance=3.0), "guidance"), (dict(steps=3), "steps"), (dict(fps_id=3.0), "fps_id"),
                         (dict(image=namesake), "image 1")]:
        with pytest.raises(UserError, match=rf"^(?!.*\n).*another film .*different {named}.*choose another folder"):
            sample_video(**call | given)
    assert content(tmp_path / "out") == before
    sample_video(**call | dict(image=[str(tmp_path / "b.png")]))                     # has a name of its own
    with pytest.raises(UserError, match="begins with one picture, not 0: name it with --image"):
        sample_video(**call | dict(image=None))
