"""The world of films: captions read back, the truth is what is seen, one description draws the same at every size."""
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import fuzz

from dclm_nb.core.errors import UserError
from dclm_nb.video.world import (
    CAMERAS, COLOURS, MOTIONS, POOR, SHAPES, SPLITS, STILL, TEXTS, FilmTruth, Meaning, Scene, WorldSpec, clip_of,
    clip_set, draw_film, draw_scene, film_frames, meanings_of, parse_caption, render, shrink, text_area, text_boxes,
    truth_of,
)

SPECS = {"small": WorldSpec(), "large": WorldSpec(shapes=6, colours=6)}
MOVES = (*MOTIONS, *CAMERAS, STILL)
scenes = st.builds(
    Scene,
    meaning=st.builds(Meaning, st.sampled_from(list(COLOURS)), st.sampled_from(SHAPES),
                      st.sampled_from([*MOTIONS, *(move for move in CAMERAS if move != "orbit")])),
    radius=st.floats(0.15, 0.21), textured=st.booleans(), still=st.booleans(), seed=st.integers(0, 10**6),
    amount=st.just(0.45), x=st.floats(-0.05, 0.05), y=st.floats(-0.05, 0.05),
)
scenes = scenes.map(lambda s: replace(s, amount=1.7) if s.meaning.move.startswith("zoom") else s)


def middle(frame: np.ndarray, colour: str) -> tuple[float, float, float]:
    "Where the pixels near a colour lie (right, down, in frame sides), and the share of the frame that they are."
    near = (abs(frame.astype(float) - COLOURS[colour]) < 40).all(axis=-1)
    rows, columns = np.nonzero(near)
    size = len(frame)
    return (columns.mean() + 0.5) / size, (rows.mean() + 0.5) / size, near.mean()


@fuzz(100)
@given(st.sampled_from(["", *COLOURS]), st.sampled_from(["", *SHAPES]), st.sampled_from(["", *MOVES]))
def test_a_caption_reads_back(colour, shape, move):
    meaning = Meaning(colour, shape, move)
    assert parse_caption(str(meaning)) == parse_caption(f"  {str(meaning).upper()}. ") == meaning


@fuzz(100)
@given(st.lists(st.sampled_from(["a", "red", "circle", "moves", "left", "the", "camera", "pans", "up", "mauve", ","]),
                max_size=7).map(" ".join))
def test_any_other_sentence_is_refused_or_understood_never_something_else(text):
    try: meaning = parse_caption(text)
    except UserError: return
    assert parse_caption(str(meaning)) == meaning


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_every_meaning_is_in_one_hand_and_training_shows_every_word(spec):
    for camera in (False, True):
        hands = [set(meanings_of(spec, split, camera)) for split in SPLITS]
        moves = spec.camera_names if camera else spec.motion_names
        assert len(set.union(*hands)) == sum(map(len, hands)) == spec.colours * spec.shapes * len(moves)
        for part, words in (("colour", spec.colour_names), ("shape", spec.shape_names), ("move", moves)):
            for hand in (hands[0], hands[2]): assert {getattr(m, part) for m in hand} == set(words)


@fuzz(60)
@given(scenes)
def test_what_moves_is_what_the_caption_says(scene):
    "Read off the pixels: the shape's middle and its share of the frame, at the start and at the end."
    first, last = (middle(frame, scene.meaning.colour) for frame in clip_of(scene, 2, 64))
    right, down, growth = last[0] - first[0], last[1] - first[1], last[2] / first[2]
    move = scene.seen.move
    if move == STILL: assert (right, down, growth) == (0, 0, 1)
    elif move.startswith("zoom"): assert growth == pytest.approx(1.7**2 if move == "zoom in" else 1.7**-2, rel=0.25)
    else:
        way = MOTIONS.get(move) or ((1, 0) if move == "pan left" else (-1, 0))
        assert (right, down) == pytest.approx(tuple(0.45 * step for step in way), abs=0.04)


def test_an_orbit_shows_parallax_and_keeps_the_shape_in_place():
    scene = Scene(Meaning("red", "circle", "orbit"), amount=1.4, seed=3)
    frames = clip_of(scene, 6, 128)
    at = np.array([middle(frame, "red")[:2] for frame in frames])
    # balls in front hide a part of it now and then
    assert abs(at - 0.5).max() < 0.06
    assert (abs(frames[0].astype(int) - frames[-1]).max(axis=-1) > 30).mean() > 0.02
    assert np.array_equal(*clip_of(replace(scene, still=True), 2, 64))


@pytest.mark.parametrize("flaw", [{}, *({"text": t} for t in TEXTS), *({"poor": p} for p in POOR), {"flicker": True}],
                         ids=lambda flaw: next(iter(flaw.values()), "clean"))
def test_small_is_large_made_smaller(flaw):
    errors = []
    for i in range(12):
        scene = replace(draw_scene(WorldSpec().clean(), "same", i), **flaw)
        errors.append(abs(clip_of(scene, 3, 32).astype(float) - shrink(clip_of(scene, 3, 128), 32)))
    assert np.mean(errors) < 1.5 and np.quantile(errors, 0.99) < 24
    # and not because nothing is there
    other = abs(clip_of(scene, 3, 32).astype(float) - clip_of(replace(scene, seed=scene.seed + 1), 3, 32))
    assert other.mean() > 5 * np.mean(errors) or flaw.get("poor") == "grain"


@pytest.mark.parametrize("text", TEXTS)
def test_the_boxes_of_text_hold_the_letters(text):
    for seed in range(4):
        plain = Scene(Meaning("red", "circle", "left"), seed=seed)
        scene = replace(plain, text=text)
        changed = (abs(render(scene, [1.0], 128).astype(int) - render(plain, [1.0], 128)).max(axis=-1) > 60)[0]
        inside = np.zeros_like(changed)
        for left, top, right, bottom in text_boxes(scene):
            assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
            inside[int(top * 128) - 2:int(bottom * 128) + 3, int(left * 128) - 2:int(right * 128) + 3] = True
        assert changed[inside].mean() > 0.15 and changed[~inside].mean() < 0.002
        assert 0.02 < text_area(scene) < 0.5
    assert text_area(plain) == 0 and text_boxes(plain) == ()


@pytest.mark.parametrize("seed", range(4))
def test_the_truth_of_a_film_is_what_its_frames_show(seed):
    film = draw_film(replace(WorldSpec(), scenes=(3, 4)), "truth", seed)
    truth = FilmTruth.from_dict(asdict(truth_of(film)) | {})
    frames = np.concatenate(list(film_frames(film, 16)))
    assert len(frames) == truth.frames
    seen = np.zeros(len(frames), int)
    for scene, known in zip(film.scenes, truth.scenes):
        seen[known.first:known.last + 1] += 1
        assert known.told == scene.told and known.caption == scene.caption and known.wrong == scene.wrong
    for join in truth.joins:
        if join.kind != "cut": seen[join.first:join.last + 1] += 1
        if join.kind == "fade": assert frames[join.first:join.last + 1].reshape(-1, 768).mean(1).min() < 12
        if join.kind == "cut":
            step = abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3))
            assert step[join.first - 1] == step[join.first - 6:join.first + 5].max()
    # every frame is in one scene alone or in one dissolve
    assert (seen == 1).all()


def test_pieces_are_the_film_whatever_their_length():
    film = draw_film(WorldSpec(), "pieces")
    whole = np.concatenate(list(film_frames(film, 16)))
    assert np.array_equal(whole, np.concatenate(list(film_frames(film, 16, many=7))))
    assert np.array_equal(whole[11:30], np.concatenate(list(film_frames(film, 16, 11, 30, many=5))))


def test_a_rate_changes_its_own_flaw_and_nothing_else():
    clean, texts = (WorldSpec().clean(), replace(WorldSpec().clean(), text=1.0))
    for i in range(20):
        scene = draw_scene(texts, "rates", i)
        assert scene.text in TEXTS and replace(scene, text="") == draw_scene(clean, "rates", i)


def test_rates_are_kept_and_flaws_are_independent():
    found = [draw_scene(WorldSpec(), "many", i) for i in range(3000)]
    has = np.array([[flaw in s.flaws for flaw in ("still", "text", "poor", "wrong", "flicker")] for s in found])
    assert has.mean(axis=0) == pytest.approx([0.25, 0.25, 0.2, 0.25, 0.05], abs=0.03)
    assert abs(np.corrcoef(has.T) - np.eye(5)).max() < 0.06


def test_a_set_begins_with_the_smaller_set_and_is_of_its_split():
    spec = WorldSpec().clean()
    some, more = (clip_set(n, spec, split="held out") for n in (3, 6))
    assert np.array_equal(some.clips, more.clips[:3]) and more.captions == more.true_captions
    held = {*meanings_of(spec, "held out"), *meanings_of(spec, "held out", camera=True)}
    assert {parse_caption(caption) for caption in more.captions} <= held
    assert not np.array_equal(some.clips, clip_set(3, spec, seed=1, split="held out").clips)


@pytest.mark.parametrize("wrong", [
    dict(shapes=7), dict(still=-0.1), dict(joins=(1.0,)), dict(text_kinds=(0.5, 0.5, 0.5)), dict(travel=(0.5, 0.9)),
    dict(seconds=(0.0, 1.0)), dict(scenes=(3, 2)), dict(fps=()), dict(fps=(0.0,)), dict(zoom=(2.0, 1.0)),
])
def test_settings_that_make_no_world_are_refused_in_one_line(wrong):
    with pytest.raises(UserError) as error: WorldSpec(**wrong)
    assert "\n" not in str(error.value) and next(iter(wrong)).split("_")[0] in str(error.value)
