"""Scenes and their checker: captions read back, pictures show what they say, what is held out is never trained on."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.image.checker import attribute_scores, check_all, check_scene
from dclm_nb.image.scenes import COLOURS, RELATIONS, SHAPES, Group, Pair, SceneSpec, captions_of, draw, parse_caption, place, scene_set

SPECS = {scale: SceneSpec.at_scale(scale) for scale in ("laptop", "gpu")}
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def captions(spec: SceneSpec):
    """Any caption of a spec, of either split."""
    return st.sampled_from([caption for split in ("train", "held out") for kind in captions_of(spec, split) for caption in kind])


def other_than(names, *used): return st.sampled_from([name for name in names if name not in used])


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_caption_reads_back_in_any_case_and_spacing(spec, data):
    caption = data.draw(captions(spec))
    text = str(caption)
    assert parse_caption(text, spec) == caption
    loud = "".join(c.upper() if data.draw(st.booleans()) else c for c in text).replace(" ", data.draw(st.sampled_from([" ", "  ", "\n\t"])))
    assert parse_caption(loud, spec) == caption


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40) | st.lists(st.sampled_from([*COLOURS, *SHAPES, *RELATIONS, "a", "three", "mauve"]), max_size=7).map(" ".join))
def test_any_other_sentence_is_refused_or_understood_never_something_else(text):
    try: caption = parse_caption(text, SPECS["laptop"])
    except UserError: return
    assert parse_caption(str(caption), SPECS["laptop"]) == caption


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@settings(max_examples=200, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_what_is_placed_and_drawn_is_what_the_caption_asks_for(spec, data, seed):
    caption = data.draw(captions(spec))
    assert check_scene(draw(place(caption, spec, np.random.default_rng(seed)), spec), caption, spec).all


@pytest.mark.parametrize("split", ["train", "held out"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_checker_is_right_on_99_percent_of_ground_truth(spec, split):
    scenes = scene_set(400, spec, seed=11, split=split)
    assert min(attribute_scores(check_all(scenes.images, scenes.captions, spec)).values()) >= 0.99


@settings(max_examples=200, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_a_picture_does_not_pass_for_a_caption_that_is_wrong_in_one_word(data, seed):
    spec = SPECS["laptop"]
    caption = data.draw(captions(spec))
    image = draw(place(caption, spec, np.random.default_rng(seed)), spec)
    changes = {"colour": other_than(spec.colour_names, caption.colour, getattr(caption, "other_colour", "")), "shape": other_than(spec.shape_names, caption.shape)}
    if isinstance(caption, Pair): changes["relation"] = st.just(OPPOSITE[caption.relation])
    else: changes["count"] = other_than(range(1, spec.max_count + 1), caption.count)
    name = data.draw(st.sampled_from(sorted(changes)))
    wrong = type(caption)(**(vars(caption) | {name: data.draw(changes[name])}))
    check = check_scene(image, wrong, spec)
    assert not getattr(check, name) and not check.all


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_held_out_compositions_never_appear_in_training_and_all_else_does(spec):
    train, held_out = (captions_of(spec, split)[0] for split in ("train", "held out"))
    assert not set(train) & set(held_out) and 0.05 < len(held_out) / (len(train) + len(held_out)) < 0.15
    things = spec.colours * spec.shapes
    assert len(train) + len(held_out) == len(RELATIONS) * things * (things - spec.shapes)
    kept = {str(pair) for pair in held_out}
    assert not kept & set(scene_set(2000, spec, groups=0.0).captions) and set(scene_set(300, spec, split="held out").captions) <= kept
    words = lambda pairs: {word for pair in pairs for word in str(pair).split()}
    assert words(held_out) <= words(train), "every word of a held-out caption was seen in training"


def test_objects_never_touch_even_at_the_largest_jitter():
    """Four of a kind stay four blobs, whatever their places."""
    spec = SceneSpec(size=32, cells=2, max_count=4, jitter=5)
    for seed in range(50):
        caption = Group(4, "red", "square")
        assert check_scene(draw(place(caption, spec, np.random.default_rng(seed)), spec), caption, spec).count


def test_a_set_does_not_depend_on_its_size_but_on_its_seed_and_split():
    few, many = scene_set(5), scene_set(9)
    assert few.captions == many.captions[:5] and few.images.equal(many.images[:5])
    assert scene_set(5, seed=1).captions != few.captions


@pytest.mark.parametrize("changes", [{"size": 17}, {"colours": 0}, {"shapes": 99}, {"max_count": 5}, {"jitter": 0}, {"jitter": 7}])
def test_a_world_that_cannot_be_drawn_is_refused(changes):
    with pytest.raises(UserError): SceneSpec(**changes)


def test_the_checker_refuses_other_sizes_and_empty_sets():
    scenes = scene_set(2)
    with pytest.raises(UserError, match="64 pixels"): check_all(scenes.images, ["a red circle left of a blue square"] * 2, SPECS["gpu"])
    with pytest.raises(UserError, match="empty"): check_all(scenes.images[:0], [], SceneSpec())
    with pytest.raises(UserError, match="cannot be compared"): check_all(scenes.images, scenes.captions[:1], SceneSpec())
    with pytest.raises(UserError, match="at least one"): scene_set(0)
