"""Feature networks, two-tower, adapters and suite: determinism, faults, and that a blind instrument is found out."""
import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dclm_nb.core.errors import UserError
from dclm_nb.core.store import RunStore
from dclm_nb.image import features, judges
from dclm_nb.image.checker import ATTRIBUTES, check_scene
from dclm_nb.image.features import (
    FeatureNet, JudgeTraining, TwoTower, attribute_names, attribute_targets, clip_features, clip_score,
    contrastive_score, dinov2_features, fit_feature_net, fit_two_tower, judge_scenes, load_judge, load_pretrained,
    near_miss_accuracy, near_misses, retrieval_accuracy, save_judge,
)
from dclm_nb.image.scenes import meaning
from dclm_nb.image.judges import (
    FAULTS, INSTRUMENTS, JudgeSuite, calibrate, calibrated, calibration_matrix, calibration_table, judges_config,
    load_suite, save_suite, train_judges,
)
from dclm_nb.image.scenes import SceneSpec, captions_of, scene_set

SPEC, BRIEF = SceneSpec(), JudgeTraining(scenes=2000, steps=150)
LARGE = SceneSpec(size=32, colours=8, shapes=6, smallest=10.0, largest=13.0)


@pytest.fixture(scope="module")
def suite() -> JudgeSuite:
    return JudgeSuite.build(fit_feature_net(SPEC, BRIEF), fit_two_tower(SPEC, BRIEF), n=128)


def fresh(build, seed: int = 0):
    """An untrained network."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build().eval()


@pytest.mark.parametrize("fit", [fit_feature_net, fit_two_tower])
def test_the_same_seed_gives_the_same_judge_and_global_random_state_is_left_alone(fit):
    short = JudgeTraining(scenes=200, steps=3, batch_size=16)
    before = torch.random.get_rng_state()
    a, b, other = fit(SPEC, short, 0), fit(SPEC, short, 0), fit(SPEC, short, 1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
    assert any(not torch.equal(v, other.state_dict()[k]) for k, v in a.state_dict().items())


def test_judges_learn_from_held_out_compositions_too_and_from_pictures_of_their_own_seed():
    scenes, held_out = judge_scenes(50, SPEC, 0), {str(c) for kind in captions_of(SPEC, "held out") for c in kind}
    assert len(scenes) == 50 and set(scenes.captions[-5:]) <= held_out and not set(scenes.captions[:45]) & held_out
    assert not torch.equal(scenes.images[:5], scene_set(5, SPEC).images)


@pytest.mark.parametrize("spec", [SPEC, LARGE], ids=["small", "large"])
def test_attributes_and_near_misses_agree_with_the_rule_that_reads_pictures(spec):
    scenes = scene_set(25, spec, seed=3)
    for image, caption in zip(scenes.images, scenes.captions):
        assert meaning(str(meaning(caption, spec)), spec) == meaning(caption, spec)
        assert check_scene(image, str(meaning(caption, spec)), spec).all
        same = attribute_targets([caption, str(meaning(caption, spec))], spec)
        assert torch.equal(same[0], same[1]) and same.shape[1] == len(attribute_names(spec))
        misses = near_misses(caption, spec)
        assert misses and not any(check_scene(image, miss, spec).all for miss in misses)
        assert not (attribute_targets(misses, spec) == same[0]).all(dim=1).any()


def test_words_are_read_in_their_order_and_fill_does_not_depend_on_the_others():
    network = fresh(lambda: TwoTower(SPEC))
    one, two = "a red circle left of a blue square", "a blue circle left of a red square"
    vectors = network.caption_vectors([one, two])
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-4)
    assert network.ids(["one red circle", one])[0].tolist() == [0] * 5 + network.ids(["one red circle"])[0].tolist()
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2))


def test_captions_that_mean_the_same_are_no_wrong_answers():
    unit = torch.eye(3)
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    own_only = torch.eye(3, dtype=torch.bool)
    alike = unit[[0, 0, 2]]
    assert (
        features.contrastive_loss(alike, alike, same, torch.tensor(20.0))
        < 1e-6
        < 0.1
        < features.contrastive_loss(alike, alike, own_only, torch.tensor(20.0))
    )


def test_larger_pictures_fit_the_same_towers():
    net, towers, scenes = fresh(lambda: FeatureNet(LARGE, 64, 32)), fresh(lambda: TwoTower(LARGE)), scene_set(3, LARGE)
    assert (
        net.features(scenes.images).shape == (3, 64)
        and -100 <= contrastive_score(towers, scenes.images, scenes.captions) <= 100
    )


def test_judges_survive_the_disk_and_damage_is_named(tmp_path):
    net, towers, scenes = fresh(lambda: FeatureNet(SPEC)), fresh(lambda: TwoTower(SPEC)), scene_set(4)
    a, b = save_judge(net, tmp_path / "a" / "net.safetensors"), save_judge(towers, tmp_path / "two.safetensors")
    assert torch.equal(load_judge(a).features(scenes.images), net.features(scenes.images))
    assert torch.equal(load_judge(b).caption_vectors(scenes.captions), towers.caption_vectors(scenes.captions))
    assert [p.name for p in tmp_path.glob("[!.]*") if p.is_file()] == ["two.safetensors"]

    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(b.read_bytes()[:1000])
    with pytest.raises(UserError, match="not a readable safetensors"): load_judge(cut)
    save_file({"w": torch.zeros(1)}, tmp_path / "stranger.safetensors")
    with pytest.raises(UserError, match="of no judge"): load_judge(tmp_path / "stranger.safetensors")
    settings = json.dumps({**towers.settings, "dimension": 32})
    save_file(load_file(b), tmp_path / "other.safetensors", metadata={"judge": settings})
    with pytest.raises(UserError, match="do not fit"): load_judge(tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="there is no judge"): load_judge(tmp_path / "none.safetensors")


def test_the_two_tower_is_worth_its_score(suite):
    unseen = scene_set(100, SPEC, seed=9)
    assert retrieval_accuracy(suite.two_tower, unseen.images, unseen.captions, k=8) > 0.8
    assert near_miss_accuracy(suite.two_tower, unseen.images, unseen.captions) > 0.5
    chance = retrieval_accuracy(fresh(lambda: TwoTower(SPEC)), unseen.images, unseen.captions, k=8)
    assert 0 <= chance < 0.4


def test_a_suite_scores_every_instrument_and_compares_at_the_same_n(suite):
    scenes = scene_set(128, SPEC, seed=4)
    scores = suite.score(scenes.images, scenes.captions)
    assert tuple(scores) == INSTRUMENTS and all(scores[a] > 0.98 for a in ATTRIBUTES)
    floor = suite.real(128)["frechet_distance"]
    assert floor / 2 < scores["frechet_distance"] < 2 * floor and suite.real(32)["frechet_distance"] > 2 * floor
    held_out = scene_set(20, SPEC, 4, "held out")
    assert set(suite.score(held_out.images, held_out.captions)) == set(INSTRUMENTS)


def test_captions_alone_move_prompt_scores_and_leave_distances(suite):
    scenes = scene_set(60, SPEC, seed=4)
    right = suite.score(scenes.images, scenes.captions)
    wrong_set = judges.another_caption(scenes, SPEC, np.random.default_rng(0))
    assert not any(meaning(a, SPEC) == meaning(b, SPEC) for a, b in zip(scenes.captions, wrong_set.captions))
    wrong = suite.score(wrong_set.images, wrong_set.captions)
    assert wrong["all"] == 0 and wrong["contrastive_score"] < right["contrastive_score"] - 30
    assert all(wrong[name] == right[name] for name in ("frechet_distance", "precision", "recall", "coverage"))


def test_faults_spoil_what_they_say_and_nothing_else():
    scenes = scene_set(40, SPEC, seed=4)
    for name, (fault, _) in FAULTS.items():
        if fault is None: continue
        before = scenes.images.clone()
        spoiled, again = fault(scenes, SPEC, np.random.default_rng(1)), fault(scenes, SPEC, np.random.default_rng(1))
        assert (
            torch.equal(spoiled.images, again.images)
            and spoiled.captions == again.captions
            and torch.equal(scenes.images, before)
        )
        assert spoiled.images.dtype == torch.uint8 and spoiled.images.shape == scenes.images.shape
        assert torch.equal(spoiled.images, scenes.images) == ("caption" in name)
    repeated = judges.half_repeated(scenes, SPEC, np.random.default_rng(1))
    assert 20 <= len(repeated.images.flatten(1).unique(dim=0)) <= 21
    placed = judges.same_place(scenes, SPEC, np.random.default_rng(1))
    for made in (repeated, placed): assert all(check_scene(i, c, SPEC).all for i, c in zip(made.images, made.captions))
    lost = judges.object_lost(scenes, SPEC, np.random.default_rng(1))
    assert not any(check_scene(i, c, SPEC).count for i, c in zip(lost.images, lost.captions))


def test_an_instrument_that_knows_nothing_is_named_and_not_used(suite):
    ignorant = dataclasses.replace(suite, two_tower=fresh(lambda: TwoTower(SPEC)))
    calibration = calibrate(ignorant, n=64, sets=2)
    honest = calibrated(ignorant, calibration)
    table, matrix = calibration_table(calibration), calibration_matrix(calibration)
    assert len(table) == len(FAULTS) * len(INSTRUMENTS) and matrix.shape == (len(INSTRUMENTS), len(FAULTS))
    assert matrix.map(lambda cell: "FAILS" in cell).sum().sum() == (~table["passes"]).sum()
    assert "another caption" in honest.blind["contrastive_score"] and "all" not in honest.blind
    scenes = scene_set(20, SPEC, seed=4)
    assert "contrastive_score" not in honest.score(
        scenes.images, scenes.captions
    ) and "contrastive_score" in honest.measure(scenes.images, scenes.captions)
    with pytest.raises(UserError, match="at least 2"): calibrate(suite, n=64, sets=1)


def test_a_suite_on_disk_judges_as_before(suite, tmp_path):
    known = dataclasses.replace(suite, blind={"recall": ("half repeated",)})
    again = load_suite(save_suite(known, tmp_path / "judges"))
    scenes = scene_set(30, SPEC, seed=4)
    assert (
        again.score(scenes.images, scenes.captions) == known.score(scenes.images, scenes.captions)
        and again.blind == known.blind
    )
    (tmp_path / "judges" / "judges.json").write_text("{")
    with pytest.raises(UserError, match="missing or damaged"): load_suite(tmp_path / "judges")


def test_judges_are_a_stored_run(tmp_path):
    config = judges_config(SPEC, JudgeTraining(scenes=100, steps=2, batch_size=16), n=32)
    store = RunStore(tmp_path)
    run = store.run(train_judges, config, seed=1)
    assert store.run(train_judges, config, seed=1).key == run.key != store.run(train_judges, config, seed=2).key
    assert set(run.result["real"]) == set(INSTRUMENTS) and set(load_suite(run.folder).blind) == set(run.result["blind"])


# The large networks, tiny and untrained: no network needed

@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    words = ["<pad>", "<start>", "<end>", "<unk>", "a", "red", "blue", "circle", "square", "of", "left"]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    text = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    folder = tmp_path_factory.mktemp("clip")
    fresh(
        lambda: transformers.CLIPModel(
            transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        )
    ).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<start>", eos_token="<end>"
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("dino")
    fresh(
        lambda: transformers.Dinov2Model(
            transformers.Dinov2Config(
                hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
            )
        )
    ).save_pretrained(folder)
    return folder


def pictures(n: int, height: int = 48, width: int = 48) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_clip_scores_equal_the_cosines_of_the_model_itself(clip_folder):
    clip = load_pretrained(str(clip_folder))
    images = pictures(5)
    captions = ["a red circle", "a blue square left of a red circle", "a circle", "red", "a blue circle"]
    words = clip.tokenizer(captions, padding=True, return_tensors="pt")
    with torch.inference_mode():
        out = clip.model(
            input_ids=words["input_ids"], attention_mask=words["attention_mask"], pixel_values=clip.prepare(images)
        )
    expected = 100 * (out.image_embeds * out.text_embeds).sum(1).clamp(min=0).mean().item()
    for batch in (2, 64):
        assert clip_score(images, captions, clip, batch_size=batch) == pytest.approx(expected, abs=1e-3)
    assert clip_score(images, captions, str(clip_folder)) == pytest.approx(expected, abs=1e-3)
    mine = clip_features(images, clip, batch_size=2)
    assert mine.shape == (5, 24) and torch.allclose(
        torch.nn.functional.normalize(mine, dim=1), out.image_embeds, atol=1e-5
    )


def test_dinov2_features_are_its_class_token(dino_folder):
    dino, images = load_pretrained(str(dino_folder)), pictures(3)
    with torch.inference_mode(): expected = dino.model(pixel_values=dino.prepare(images)).last_hidden_state[:, 0]
    assert torch.allclose(dinov2_features(images, dino, batch_size=2), expected, atol=1e-5)


def test_pictures_are_prepared_as_the_published_preprocessing_does(clip_folder):
    """Transformers' own processor on PIL: bicubic on the shorter side, middle crop, normalised."""
    transformers = pytest.importorskip("transformers")
    processor_class = (
        getattr(transformers, "CLIPImageProcessorPil", None)
        or pytest.importorskip("transformers.models.clip.image_processing_clip").CLIPImageProcessor
    )
    clip, images = load_pretrained(str(clip_folder)), pictures(2, 50, 70)
    processor = processor_class(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    theirs = torch.stack([
        torch.as_tensor(
            np.asarray(processor(images=[image.permute(1, 2, 0).numpy()], return_tensors="np")["pixel_values"][0])
        )
        for image in images
    ])
    mine = clip.prepare(images)
    assert mine.shape == theirs.shape == (2, 3, 32, 32)
    # of a unit that spans about 4; rounding inside the two resizers differs
    assert (mine - theirs).abs().mean() < 0.02


@pytest.mark.parametrize("call, says", [
    (lambda clip, dino: load_pretrained("openai/clip-vit-base-patch32"), "named with its commit"),
    (lambda clip, dino: clip_features(pictures(2), str(dino)), "takes a clip"),
    (lambda clip, dino: dinov2_features(pictures(2), str(clip)), "takes a dinov2"),
    (lambda clip, dino: clip_features(pictures(2).float(), str(clip)), "uint8"),
    (lambda clip, dino: clip_features(pictures(2)[:0], str(clip)), "at least 1"),
    (lambda clip, dino: clip_score(pictures(2), ["a circle"], str(clip)), "2 pictures cannot be compared with 1")])
def test_what_cannot_be_judged_is_refused_in_one_line(clip_folder, dino_folder, call, says):
    with pytest.raises(UserError, match=says): call(clip_folder, dino_folder)


def test_another_kind_of_network_and_a_missing_one_are_named(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(
        tmp_path / "bert"
    )
    with pytest.raises(UserError, match="is a bert"): load_pretrained(str(tmp_path / "bert"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="cannot be loaded"): load_pretrained(str(tmp_path / "empty"))
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(UserError, match=r"dclm_nb\[gpu\]"): load_pretrained("owner/name@0123")


def test_the_library_does_not_need_transformers_to_import():
    import subprocess
    import sys

    code = ("import sys; sys.modules['transformers'] = None; sys.modules['torchvision'] = None; import "
            "dclm_nb.image.judges, dclm_nb.judging.frechet")
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
