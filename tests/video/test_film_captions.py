"""Three captioners: they read pixels, each sees what it should, and models fit behind the same interface."""
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import fuzz

from dclm_nb.core.errors import UserError
from dclm_nb.core.statistics import wilson
from dclm_nb.video.captions import (
    MIX, ClipCaptioner, FrameCaptioner, LanguageMerger, MergingCaptioner, ModelCaptioner, caption_all, drawn_caption,
    find_shape, merge_captions, move_of, shape_of, three_captioners, track,
)
from dclm_nb.video.films import write_films
from dclm_nb.video.world import (
    CAMERAS, COLOURS, MOTIONS, SHAPES, STILL, Meaning, Scene, WorldSpec, draw_scene, parse_caption, render,
)

MOVES = (*MOTIONS, *CAMERAS, STILL)
MIRRORED = {"left": "right", "right": "left", "pan left": "pan right", "pan right": "pan left"}
REVERSED = MIRRORED | {"up": "down", "down": "up", "zoom in": "zoom out", "zoom out": "zoom in"}


def clip(scene: Scene, frames: int = 12, size: int = 96) -> np.ndarray:
    return render(scene, np.linspace(0, scene.seconds, frames), size)


def clean(*names, move: str) -> Scene:
    "A scene without flaws that moves as asked."
    scene = draw_scene(replace(WorldSpec().clean(), camera=float(move in CAMERAS)), "captions", move, *names)
    amount = 1.7 if move.startswith("zoom") else 1.3 if move == "orbit" else 0.4
    scene = replace(scene, meaning=replace(scene.meaning, move=move), x=0.0, y=0.0, amount=amount)
    return replace(scene, meaning=replace(scene.meaning, move="left"), still=True) if move == STILL else scene


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_and_colour_is_named(shape):
    reader = FrameCaptioner(shapes=SHAPES)
    for i, colour in enumerate(COLOURS):
        for size in (64, 96, 240):
            scene = Scene(Meaning(colour, shape, "left"), textured=i % 2 == 0, seed=i)
            assert reader.caption(clip(scene, 3, size)) == f"a {colour} {shape}"


@pytest.mark.parametrize("move", MOVES)
def test_every_move_is_named_and_runs_the_other_way_when_time_does(move):
    reader = ClipCaptioner()
    for i in range(4):
        frames = clip(clean(i, move=move))
        assert parse_caption(reader.caption(frames)).move == move
        assert parse_caption(reader.caption(frames[::-1])).move == REVERSED.get(move, move)
        assert parse_caption(reader.caption(frames[:, :, ::-1])).move == MIRRORED.get(move, move)
        # light that comes and goes is no move
        light = 1 + 0.2 * np.sin(np.arange(12) * 2.1)[:, None, None, None]
        assert parse_caption(reader.caption(np.clip(frames * light, 0, 255).astype(np.uint8))).move == move


def test_one_looks_at_the_middle_frame_alone_the_other_at_all():
    frames = clip(clean(1, move="up"))
    noise = np.random.default_rng(0).integers(0, 255, frames.shape, dtype=np.uint8)
    noise[6] = frames[6]
    look = FrameCaptioner().caption(frames)
    assert look == FrameCaptioner().caption(noise) and parse_caption(look).move == ""
    frozen = np.repeat(frames[6:7], 12, axis=0)
    reader = ClipCaptioner()
    assert [parse_caption(reader.caption(clip)).move for clip in (frames, frozen)] == ["up", STILL]


@fuzz(40)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6), st.sampled_from([1, 2, 255]))
def test_any_frames_get_a_caption(many, high, wide, seed, levels):
    frames = np.random.default_rng(seed).integers(0, levels + 1, (many, high, wide, 3)) * (255 // levels)
    for text in caption_all(frames.astype(np.uint8)).values():
        assert str(parse_caption(text)) == text


@pytest.mark.parametrize("wrong", [
    np.zeros((0, 8, 8, 3), np.uint8), np.zeros((4, 8, 8), np.uint8), np.zeros((4, 8, 8, 3)),
    np.zeros((4, 3, 8, 8), np.uint8),
])
def test_what_is_no_clip_is_refused_in_one_line(wrong):
    for captioner in three_captioners():
        with pytest.raises(UserError, match=r"uint8 \(T, H, W, 3\)"): captioner.caption(wrong)


def test_nothing_is_said_where_nothing_stands_out():
    grey = np.full((6, 64, 64, 3), 120, np.uint8)
    assert set(caption_all(grey).values()) == {"a shape"} and find_shape(grey[0]) is None and track(grey) is None
    # a long red bar is red, and none of the shapes
    grey[:, 30:34, 4:60] = COLOURS["red"]
    assert shape_of(find_shape(grey[0]), SHAPES[:3]) == "" and FrameCaptioner().caption(grey) == "a red shape"
    assert move_of(track(grey)) == STILL


@pytest.mark.parametrize("look, clip_says, whole", [
    ("a red circle", "a red square moves left", "a red circle moves left"),
    ("a shape", "a blue shape stands still", "a blue shape stands still"),
    ("a green shape", "a green ring, the camera zooms in", "a green ring, the camera zooms in"),
    ("A dog.", "a dog runs", "A dog; a dog runs"),
    ("a dog", "a dog", "a dog"),
])
def test_one_sentence_of_two(look, clip_says, whole):
    assert merge_captions([look, clip_says]) == whole


def test_other_sentences_are_put_in_a_row():
    assert merge_captions(["a red circle", "a blue ring", "a shape"]) == "a red circle; a blue ring; a shape"
    with pytest.raises(UserError, match="not one string"): merge_captions("a red circle")


@dataclass(frozen=True)
class Counted:
    "A captioner that says its name and notes that it was asked."
    name: str
    asked: list

    def caption(self, frames: np.ndarray) -> str:
        self.asked.append(self.name)
        return f"{self.name} says"


def test_the_merging_one_reads_what_was_said_and_asks_nobody_twice():
    asked = []
    first, second = (Counted(name, asked) for name in ("frame", "clip"))
    both = MergingCaptioner(first, second, merge=" and ".join)
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    said = caption_all(frames, [first, second, both])
    assert said["merged"] == "frame says and clip says" == both.caption(frames)
    assert asked == ["frame", "clip"] * 2
    # alone, it asks both
    assert caption_all(frames, [both]) == {"merged": said["merged"]} and len(asked) == 6


def test_captions_are_drawn_in_the_shares_of_the_mix_and_by_name():
    captions = {name: f"by {name}" for name in (*MIX, "nobody")}
    drawn = [drawn_caption(captions, "test", k) for k in range(4000)]
    counts = Counter(drawn)
    assert sum(MIX.values()) == 1 and set(counts) == {f"by {name}" for name in MIX}
    for name, share in MIX.items(): assert wilson(counts[f"by {name}"], 4000, 0.999).covers(share)
    assert drawn[:50] == [drawn_caption(captions, "test", k) for k in range(50)]
    assert drawn_caption(captions, 1, mix={"nobody": 1.0}) == "by nobody"
    with pytest.raises(UserError, match="clip, merged"): drawn_caption({"frame": "a red circle"}, 1)
    for mix in ({"frame": 0.5}, {"frame": 1.5, "clip": -0.5}):
        with pytest.raises(UserError, match="sum to 1"): drawn_caption(captions, 1, mix=mix)


def test_on_encoded_films_each_is_strong_where_its_model_is(tmp_path):
    av = pytest.importorskip("av", reason="films need PyAV: pip install 'dclm_nb[video]'")
    short = replace(WorldSpec(), seconds=(0.8, 1.2), scenes=(8, 8))
    films, right = write_films(tmp_path, 9, short, size=64, seed=17, split="held out"), Counter()
    for path in films.paths():
        with av.open(str(path)) as file: frames = np.stack([f.to_ndarray(format="rgb24") for f in file.decode(video=0)])
        for scene in films.truth()[path.stem].scenes:
            shown = frames[scene.first:scene.last + 1]
            for name, text in caption_all(shown).items():
                said = parse_caption(text)
                right.update((name, part) for part in ("colour", "shape", "move")
                             if getattr(said, part) == getattr(scene, part))
    n = 72
    for name in MIX: assert right[name, "colour"] > 0.9 * n
    assert right["frame", "shape"] > right["clip", "shape"] + 0.1 * n and right["frame", "move"] == 0
    # by chance a third of the shapes
    assert right["clip", "shape"] > 0.45 * n and right["clip", "move"] == right["merged", "move"] > 0.85 * n


# Models of transformers, tiny and untrained: of the same classes as those that are worth their weights.

SMALL = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "circle", "square", "moves", "left")


def tokens():
    transformers = pytest.importorskip("transformers")
    return transformers.BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)})


def blip():
    import torch
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor
    torch.manual_seed(0)
    text = dict(vocab_size=len(WORDS), encoder_hidden_size=16, projection_dim=16, max_position_embeddings=32,
                bos_token_id=2, eos_token_id=3, sep_token_id=3, pad_token_id=0)
    config = BlipConfig(text_config=text | SMALL, vision_config=dict(image_size=32, patch_size=8) | SMALL,
                        projection_dim=16)
    return (BlipForConditionalGeneration(config).eval(),
            BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokens()))


def git(frames: int = 4):
    import torch
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor
    torch.manual_seed(0)
    config = GitConfig(vision_config=dict(image_size=32, patch_size=8) | SMALL, vocab_size=len(WORDS), bos_token_id=2,
                       eos_token_id=3, pad_token_id=0, max_position_embeddings=64, num_image_with_embedding=frames,
                       **SMALL)
    pictures = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return GitForCausalLM(config).eval(), GitProcessor(pictures, tokens())


KINDS = {"one frame": (blip, 1), "several frames": (git, 4)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_captions_clips_alone_as_in_a_batch(kind, tmp_path):
    tokens()
    make, frames = KINDS[kind]
    model, processor = make()
    captioner = ModelCaptioner(model, processor, frames, most=6)
    clips = [clip(clean(i, move="left"), 10, 40) for i in range(3)]
    said = captioner.caption_many(clips)
    assert said == [captioner.caption(frames) for frames in clips]
    assert all(set(text.split()) <= set(WORDS) and text for text in said)
    # from a folder it says the same
    for part in (model, processor): part.save_pretrained(tmp_path)
    assert ModelCaptioner.pretrained(str(tmp_path), frames, most=6).caption_many(clips) == said
    with pytest.raises(UserError, match="uint8"): captioner.caption(clips[0][:0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_shown_the_middles_of_equal_parts(kind, monkeypatch):
    tokens()
    make, frames = KINDS[kind]
    model, processor = make()
    shown, pixels = [], ModelCaptioner._pixels

    def watched(self, pictures):
        shown.extend(int(np.asarray(picture)[0, 0, 0]) for picture in pictures)
        return pixels(self, pictures)

    monkeypatch.setattr(ModelCaptioner, "_pixels", watched)
    counted = np.zeros((20, 16, 16, 3), np.uint8) + np.arange(20, dtype=np.uint8)[:, None, None, None]
    ModelCaptioner(model, processor, frames, most=2).caption(counted)
    assert shown == ([10] if frames == 1 else [2, 7, 12, 17])


def test_a_language_model_merges_by_request(tmp_path):
    transformers = pytest.importorskip("transformers")
    import torch
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=len(WORDS), n_positions=128, n_embd=16, n_layer=1, n_head=2,
                                     bos_token_id=2, eos_token_id=3, pad_token_id=0)
    model, tokenizer = transformers.GPT2LMHeadModel(config).eval(), tokens()
    merger = LanguageMerger(model, tokenizer, most=5)
    both = MergingCaptioner(merge=merger)
    frames = clip(clean(2, move="left"), 6, 48)
    text = both.caption(frames)
    assert text == merger([both.first.caption(frames), both.second.caption(frames)])
    assert set(text.split()) <= set(WORDS) and len(text.split()) <= 5
    for part in (model, tokenizer): part.save_pretrained(tmp_path)
    assert LanguageMerger.pretrained(str(tmp_path), most=5)(["a red circle", "a red circle moves left"]) == merger(
        ["a red circle", "a red circle moves left"])


def test_what_cannot_be_loaded_is_said_in_one_line(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    for kind in (ModelCaptioner, LanguageMerger):
        with pytest.raises(UserError, match="cannot be loaded") as error: kind.pretrained(str(tmp_path / "none"))
        assert "\n" not in str(error.value)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"dclm_nb\[video\]"): ModelCaptioner.pretrained("any")


def test_the_captioners_are_there_without_the_heavy_libraries():
    code = ("import sys; sys.modules.update(dict.fromkeys(['av', 'cv2', 'transformers', 'torch', 'diffusers']))\n"
            "import numpy as np; from dclm_nb.video.captions import caption_all\n"
            "print(caption_all(np.zeros((3, 16, 16, 3), np.uint8)))")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.returncode == 0 and "a shape" in out.stdout, out.stderr


def test_a_model_that_the_settings_name_is_asked_for_as_it_can_be(monkeypatch):
    from unittest.mock import create_autospec

    from dclm_nb.video import film_blocks as blocks
    asked = create_autospec(blocks.ModelCaptioner.pretrained, return_value="a captioner")
    monkeypatch.setattr(blocks.ModelCaptioner, "pretrained", asked)
    measuring = blocks.Measuring(text=None, models=(blocks.CaptionModel("clip", "some/model", 3),))
    assert blocks.Gauges(measuring).captioners == ["a captioner"]
    asked.assert_called_once_with("some/model", 3, "clip")
