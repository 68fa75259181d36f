"""From shards to a model to a film: every stage, going on after a stop, what is refused, and diffusers' pipeline."""
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("av")
pytest.importorskip("diffusers")

from datatrove.data import Document
from PIL import Image

from dclm_nb.cli import main
from dclm_nb.core.errors import UserError
from dclm_nb.shards.clips import write_clip_shards
from dclm_nb.video import training as t
from dclm_nb.video.models import (
    STAGES, NetworkPlan, NetworkSizes, Question, build_network, load_video_model, next_network, sample_films,
    save_video_model,
)
from dclm_nb.video.objectives import Condition
from dclm_nb.video.stages import PAPER_STAGES
from dclm_nb.video.training_clips import ClipTaking
from dclm_nb.video.training_set import clip_shards, prepare
from dclm_nb.video.words import WordTable
from films_made import made

SIZES = NetworkSizes(widths=(16, 32), lanes=(2, 4))
SMALL = t.VideoTraining(network=SIZES, steps=4, batch=4, moments=2, looks=2, checkpoint_every=2, fps=None)
CAPTIONS = ("a red square moves right", "a blue square moves right", "a green square moves left")


def moving(colour: int, right: bool, frames: int = 24) -> np.ndarray:
    "A square of one colour that crosses a grey picture of light and dark, uint8 \"T H W 3\"."
    film = np.random.default_rng(colour).integers(60, 140, (1, 32, 32, 3)).astype(np.uint8).repeat(frames, 0)
    for k in range(frames):
        left = k if right else frames - 1 - k
        film[k, 12:20, left:left + 8] = np.eye(3, dtype=np.uint8)[colour] * 255
    return film


@pytest.fixture(scope="session")
def shards(tmp_path_factory) -> Path:
    folder, clips = tmp_path_factory.mktemp("films"), []
    for k, caption in enumerate(CAPTIONS):
        path = made(folder / f"{k}.mp4", moving(k, "right" in caption))
        facts = dict(film=str(k), fps=25.0, frames=24, width=32, height=32, path=str(path), start=0.0, end=0.96,
                     motion_bucket_id=100 + k)
        clips.append(Document(text=caption, id=f"{k}/0000", metadata=facts))
    write_clip_shards(clips, folder / "curated" / "abc" / "shards")
    return folder / "curated"


@pytest.fixture(scope="session")
def stages(shards, tmp_path_factory) -> dict[str, Path]:
    "A model of every stage, each from the one before it."
    folder, begun = tmp_path_factory.mktemp("stages"), {}
    for stage in STAGES:
        how = replace(SMALL, looks=0, elevation=10.0 if stage == "views" else None)
        start = next((begun[name] for name in t.RECIPES[stage].follows if name in begun), None)
        begun[stage] = t.train_video(shards, folder / stage, stage, how, start)
    return begun


def command(capsys, *words) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended: main([str(word) for word in words])
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


@pytest.fixture()
def settings(tmp_path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text("network: {widths: [16, 32], lanes: [2, 4]}\nsteps: 4\nbatch: 4\nmoments: 2\nlooks: 2\nfps: null\n")
    return path


def test_from_shards_to_a_film_by_command(capsys, shards, settings, tmp_path):
    image, video = tmp_path / "image", tmp_path / "video"
    code, out, err = command(capsys, "train", "video", shards, "--stage", "image", "--config", settings, "--out", image)
    assert code == 0 and "random weights" in out and "moments   6, each 8 frames of 16 x 16" in out
    code, out, err = command(capsys, "train", "video", shards, "--stage", "video", "--from", image, "--config",
                             settings, "--out", video)
    assert code == 0 and "begins    with the model of the stage image" in out and "watch     after 4 steps" in out
    code, out, err = command(capsys, "sample", "video", video, CAPTIONS[0], "--out", tmp_path / "films", "--steps", 2,
                             "--motion-bucket-id", 200, "--seed", 5)
    assert code == 0 and "fps_id 24 (the median of its training), motion_bucket_id 200 (as asked)" in out
    written = {path.suffix: path for path in (tmp_path / "films").iterdir()}
    assert {".mp4", ".gif", ".png", ".json"} <= set(written) and written[".mp4"].stem == "a-red-square-moves-right-5"
    assert Image.open(written[".gif"]).n_frames == 8
    assert Image.open(written[".png"]).width > 8 * Image.open(written[".png"]).height
    from dclm_nb.video.decoding import read_frames
    assert len(list(read_frames(written[".mp4"]))) == 8


def test_every_stage_draws_what_it_is_asked(stages):
    first = np.full((40, 30, 3), 90, np.uint8)
    for stage, folder in stages.items():
        model = load_video_model(folder)
        given = (first, first) if stage == "interpolate" else (first,) if model.plan.given else ()
        question = Question("" if given else CAPTIONS[0], given)
        film = sample_films(model, [question], steps=2)
        assert film.shape == (1, 1 if stage in ("image", "edm") else 8, 16, 16, 3), stage
        assert (film == sample_films(model, [question], steps=2)).all()
        assert (film != sample_films(model, [question], seed=1, steps=2)).any()
    assert [line.split(":")[0] for line in load_video_model(stages["views"]).lineage] == \
        ["image", "edm", "video", "i2v", "views"]


def test_a_camera_move_changes_matrices_only(stages):
    before, after = load_video_model(stages["i2v"]), load_video_model(stages["camera"])
    moved = {name for name, value in after.network.state_dict().items()
             if not torch.equal(value, before.network.state_dict()[name])}
    assert moved and all("time_mixer.told.weight" in name for name in moved)


def test_a_stopped_training_goes_on_to_the_same_weights(shards, tmp_path, monkeypatch):
    whole = t.train_video(shards, tmp_path / "whole", "video", SMALL)
    draw, seen = t.sample_films, []

    def stopping(*args, **more):
        seen.append(1)
        if len(seen) == 2: raise KeyboardInterrupt
        return draw(*args, **more)

    monkeypatch.setattr(t, "sample_films", stopping)
    with pytest.raises((KeyboardInterrupt, SystemExit)): t.train_video(shards, tmp_path / "stopped", "video", SMALL)
    assert not (tmp_path / "stopped" / "model" / "model.json").exists()
    with pytest.raises(UserError, match="has not finished: run it again"): load_video_model(tmp_path / "stopped")
    monkeypatch.setattr(t, "sample_films", draw)
    again = t.train_video(shards, tmp_path / "stopped", "video", SMALL)
    for name in ("network.safetensors", "codec.json"):
        assert (whole / name).read_bytes() == (again / name).read_bytes()


def test_a_film_model_begins_as_the_picture_model_was():
    plan = NetworkPlan("image", 12, (4, 4), length=3, sizes=SIZES)
    old = build_network(plan, 5)
    new = next_network(old, plan, replace(plan, stage="video"), 5, seed=9)
    x, said = torch.randn(2, 8, 12, 4, 4), old.read(torch.tensor([[1, 2, 3], [4, 0, 0]]))
    condition = Condition(said, torch.ones(2, 2))
    assert torch.equal(old(x, torch.zeros(2), condition), new(x, torch.zeros(2), condition))


def test_words_that_are_new_join_those_that_are_known(shards, stages, tmp_path):
    table = WordTable(3, 2, 4)
    grown = t.with_words(table, ("red", "blue"), ("blue", "green", "red"))
    assert torch.equal(grown.words[1], table.words[2]) and torch.equal(grown.words[3], table.words[1])
    assert torch.equal(grown.words[0], table.words[0]) and torch.equal(grown.place, table.place)
    path = made(tmp_path / "n.mp4", moving(1, True))
    facts = dict(film="n", fps=25.0, frames=24, width=32, height=32, path=str(path), start=0.0, end=0.96,
                 motion_bucket_id=9)
    write_clip_shards([Document(text="something new", id="n/0000", metadata=facts)], tmp_path / "more")
    quiet = replace(SMALL, looks=0)
    model = load_video_model(t.train_video(tmp_path / "more", tmp_path / "hq", "hq", quiet, stages["video"]))
    assert {"new", "red"} <= set(model.captions.words.words)
    sample_films(model, [Question("new red")], steps=1)


def test_diffusers_own_pipeline_plays_what_was_trained(shards, tmp_path):
    from diffusers import EulerDiscreteScheduler, StableVideoDiffusionPipeline, UNetSpatioTemporalConditionModel
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    from dclm_nb.video.vae import TINY_VAE, build_vae
    build_vae(TINY_VAE).save_pretrained(tmp_path / "vae")
    how = replace(SMALL, network=NetworkSizes("diffusers"), vae=str(tmp_path / "vae"), steps=2, looks=0)
    start = None
    for stage in ("image", "video", "i2v"): start = t.train_video(shards, tmp_path / stage, stage, how, start)
    model = load_video_model(start)
    unet, report = UNetSpatioTemporalConditionModel.from_pretrained(start / "unet", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    for name, value in unet.state_dict().items(): assert torch.equal(value, model.network.unet.state_dict()[name])
    vision = CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                              image_size=224, patch_size=112, projection_dim=32)
    pipeline = StableVideoDiffusionPipeline(
        vae=model.codec.vae, image_encoder=CLIPVisionModelWithProjection(vision), unet=unet,
        scheduler=EulerDiscreteScheduler(prediction_type="v_prediction", use_karras_sigmas=True, sigma_min=0.03,
                                         sigma_max=80.0, timestep_type="continuous", timestep_spacing="leading"),
        feature_extractor=CLIPImageProcessor())
    pipeline.set_progress_bar_config(disable=True)
    film = pipeline(Image.fromarray(moving(0, True)[0]), height=16, width=16, num_frames=8, num_inference_steps=2,
                    fps=25, motion_bucket_id=100, output_type="np").frames[0]
    assert np.asarray(film).shape == (8, 16, 16, 3) and np.isfinite(film).all()
    assert sample_films(model, [Question("", (moving(0, True)[0],))], steps=2).shape == (1, 8, 16, 16, 3)


def test_captions_may_be_read_by_clip(shards, tmp_path):
    transformers = pytest.importorskip("transformers")
    words = ["<|startoftext|>", "<|endoftext|>", *sorted({f"{w}</w>" for c in CAPTIONS for w in c.split()})]
    (tmp_path / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    try: tokenizer = transformers.CLIPTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    except Exception as error: pytest.skip(f"no tokenizer of CLIP's kind can be made here: {error}")
    config = transformers.CLIPTextConfig(vocab_size=len(words), hidden_size=32, intermediate_size=32,
                                         num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=12)
    tokenizer.save_pretrained(tmp_path / "text")
    transformers.CLIPTextModel(config).save_pretrained(tmp_path / "text")
    how = replace(SMALL, text=str(tmp_path / "text"), looks=1)
    model = load_video_model(t.train_video(shards, tmp_path / "out", "video", how))
    assert model.plan.length == 12 and sample_films(model, [Question(CAPTIONS[0])], steps=1).shape == (1, 8, 16, 16, 3)


def test_shards_are_found_and_what_cannot_be_used_is_counted(shards, tmp_path):
    assert clip_shards(shards) == clip_shards(shards / "abc") == clip_shards(shards / "abc" / "shards")
    with pytest.raises(UserError, match="too short: 6"):
        prepare(shards, tmp_path / "long", ClipTaking(40, (16, 16), None), moments=2)
    write_clip_shards([], tmp_path / "a" / "shards")
    with pytest.raises(UserError, match="curate video writes them"): clip_shards(tmp_path)


def test_films_without_captions_train_what_reads_none(tmp_path):
    path = made(tmp_path / "m.mp4", moving(0, True))
    facts = dict(film="m", fps=25.0, frames=24, width=32, height=32, path=str(path), start=0.0, end=0.96,
                 motion_bucket_id=9)
    write_clip_shards([Document(text="", id="m/0000", metadata=facts)], tmp_path / "mute")
    mute, short = tmp_path / "mute", replace(SMALL, steps=1, looks=1)
    with pytest.raises(UserError, match="have no captions"): t.train_video(mute, tmp_path / "v", "video", SMALL)
    model = load_video_model(t.train_video(mute, tmp_path / "i2v", "i2v", short))
    assert model.captions is None and sample_films(model, [Question("", (moving(0, True)[0],))], steps=1).any()
    with pytest.raises(UserError, match="unknown captioner 'clip'"):
        t.train_video(mute, tmp_path / "c", "i2v", replace(SMALL, captions="clip"))


def muted(folder: Path, texts=("", "", ""), **more) -> Path:
    "Shards in `folder` of clips that say `texts`."
    folder.mkdir(parents=True)
    clips, path = [], made(folder / "film.mp4", moving(0, True))
    for k, text in enumerate(texts):
        facts = dict(film="m", fps=25.0, frames=24, width=32, height=32, path=str(path), start=0.0, end=0.96,
                     motion_bucket_id=9, captions=None, **more)
        clips.append(Document(text=text, id=f"m/{k:04d}", metadata=facts))
    write_clip_shards(clips, folder / "shards", 2)
    return folder


@pytest.mark.parametrize("stage", ["image", "edm", "video", "hq"])
def test_a_stage_that_reads_captions_refuses_mute_clips_before_any_work(tmp_path, monkeypatch, stage):
    monkeypatch.setattr(t, "prepare", lambda *_, **__: pytest.fail("clips were decoded"))
    with pytest.raises(UserError, match="have no captions") as said:
        t.train_video(muted(tmp_path / "mute"), tmp_path / "out", stage, SMALL)
    for way in ("models in the settings", "beside each film (captions: [told]", "--stage i2v"):
        assert way in str(said.value)
    assert "world" not in str(said.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("data, settings, said", [
    ("nowhere", {}, "the shard .*nowhere does not exist"), ("nowhere/*.tar", {}, "no shard matches"),
    ("empty", {}, "there are no shards of clips in"), ("other", {}, "there is no clip in .*other.*that can be read"),
    ("clips", dict(captions="nobody"), "unknown captioner 'nobody'")])
def test_data_that_cannot_be_trained_on_leaves_no_folder(tmp_path, shards, data, settings, said):
    for name in ("empty", "other"): (tmp_path / name).mkdir()
    with tarfile.open(tmp_path / "other" / "0.tar", "w") as tar: tar.add(__file__, "0.txt")
    (tmp_path / "clips").symlink_to(shards)
    with pytest.raises(UserError, match=said):
        t.train_video(tmp_path / data, tmp_path / "out", "i2v", replace(SMALL, **settings))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("texts, stage", [(("", "", "late"), "image"), (("", "", ""), "i2v"), (("", "", ""), "views")])
def test_one_caption_is_enough_and_some_stages_need_none(tmp_path, texts, stage):
    t.check_captions(stage, clip_shards(muted(tmp_path / "few", texts)))


def test_several_curations_say_what_each_is_and_unfinished_ones_do_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(t, "prepare", lambda *_, **__: pytest.fail("clips were decoded"))
    rules = [dict(measure="motion", share=0.25), dict(measure="text_area", too_high=True, limit=0.07)]
    told = dict(kept=3, films=[{"films": "films used", "count": 7}],
                settings=dict(filters=rules, captions=["told"], models=[]))
    for name in ("0a", "0b"): muted(tmp_path / "curated" / name)
    (tmp_path / "curated" / "0a" / "report.json").write_text(json.dumps(told))
    (tmp_path / "curated" / "0b" / "logs").mkdir()
    assert clip_shards(tmp_path / "curated").startswith(str(tmp_path / "curated" / "0a"))
    (tmp_path / "curated" / "0b" / "report.json").write_text(json.dumps(told | dict(kept=9)))
    with pytest.raises(UserError, match="holds 2 curations") as said:
        t.train_video(tmp_path / "curated", tmp_path / "out", "i2v", SMALL)
    line = str(said.value)
    assert not (tmp_path / "out").exists() and "3 clips of 7 films" in line and "9 clips of 7 films" in line
    assert "the lowest 0.25 of motion and text_area over 0.07" in line and "captions: told" in line and ":" in line
    assert all(str(tmp_path / "curated" / name) in line for name in ("0a", "0b"))
    for name in ("0a", "0b"): (tmp_path / "curated" / name / "report.json").unlink()
    (tmp_path / "curated" / "0a" / "logs").mkdir()
    with pytest.raises(UserError, match="has not finished"): clip_shards(tmp_path / "curated")


def test_what_is_done_is_said_before_it_is_done(shards, tmp_path, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr(t, "prepare", lambda *a, _real=t.prepare, **k: (seen.append(capsys.readouterr().out), _real(
        *a, **k))[1])
    monkeypatch.setattr(t, "train_stage", lambda *a, _real=t.train_stage, **k: (seen.append(
        capsys.readouterr().out), _real(*a, **k))[1])
    t.train_video(shards, tmp_path / "out", "i2v", SMALL)
    assert "reading   2 moments of each clip" in seen[0]
    assert "cost      about" in seen[1] and "for 4 steps" in seen[1]


@pytest.mark.parametrize("words, said", [
    (["train", "video", "SHARDS"], "name a stage with --stage: image comes first"),
    (["train", "video", "--stage", "image"], "name the folder that dclm-nb curate video wrote"),
    (["train", "video", "SHARDS", "--stage", "vidoe"], "unknown stage 'vidoe' (did you mean 'video'?)"),
    (["train", "video", "SHARDS", "--stage", "image", "--size", "large"], "unknown size 'large'"),
    (["train", "video", "NOWHERE", "--stage", "image"], "does not exist"),
    (["train", "video", "EMPTY", "--stage", "image"], "there are no shards of clips"),
    (["train", "video", "SHARDS", "--stage", "camera"], "name its folder with --from"),
    (["train", "video", "SHARDS", "--stage", "video", "--from", "EMPTY"], "there is no model in"),
    (["train", "video", "SHARDS", "--stage", "image", "--config", "BAD"], "unknown setting 'step' (did you mean"),
    (["train", "video", "--stage", "image", "--size", "paper"], "begins with Stable Diffusion 2.1"),
    (["sample", "video", "EMPTY", "a"], "there is no model in"),
    (["sample", "video", "VIDEO"], "needs a caption"),
    (["sample", "video", "VIDEO", "a mauve square"], "unknown word 'mauve'"),
    (["sample", "video", "VIDEO", "a red square", "--guidance", "0.5"], "guidance is 1 (none) or more"),
    (["sample", "video", "I2V", "a red square"], "begins with one picture"),
    (["sample", "video", "I2V", "--image", "NOWHERE"], "there is no picture"),
    (["sample", "video", "I2V", "--image", "BAD"], "is no picture, and as a film it is"),
    (["sample", "video", "BETWEEN", "--image", "PICTURE"], "two pictures, the first and the last"),
])
def test_one_line_for_every_mistake(capsys, shards, stages, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "BAD").write_text("step: 3\n")
    Image.fromarray(moving(0, True)[0]).save(tmp_path / "PICTURE", format="PNG")
    places = {"SHARDS": shards, "VIDEO": stages["video"], "I2V": stages["i2v"], "BETWEEN": stages["interpolate"]}
    code, out, err = command(capsys, *(places.get(word, word) for word in words))
    assert code == 2 and said in err and err.startswith("dclm-nb: ") and len(err.strip().splitlines()) == 1


def test_a_damaged_model_says_so(stages, tmp_path):
    folder = save_video_model(load_video_model(stages["video"]), tmp_path / "model")
    (folder / "network.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match="network.safetensors has 4 bytes instead of .*; train it again"):
        load_video_model(folder)


def test_the_papers_size_is_counted_and_needs_gpus(capsys, monkeypatch, shards):
    code, out, err = command(capsys, "train", "video", "--stage", "hq", "--size", "paper")
    assert code == 0 and "1,524,283,882 parameters" in out and "hours of an A100" in out
    full = t.paper_settings(PAPER_STAGES["i2v-25"])
    assert (full.frames, full.size, full.steps, full.batch, full.lr, full.levels, full.ema) == \
        (25, (576, 1024), 50_000, 768, 3e-5, (1.0, 1.6), 0.9999)
    unet = full.plan("i2v", 4, (72, 128), 77).unet()
    assert replace(unet, size=96) == PAPER_STAGES["i2v-25"].unet()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="needs GPUs"): t.train_paper(str(shards), "x", "hq")
    with pytest.raises(UserError, match="name one: i2v-320, i2v-14, i2v-25"): t.train_paper(str(shards), "x", "i2v")
    with pytest.raises(UserError, match="batch_size"): t.paper_settings(PAPER_STAGES["camera"])
