"""Scenes and their checker: captions read back, pictures show what they say, what is held out is never trained on."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import fuzz

from dclm_nb.core.errors import UserError
from dclm_nb.image.checker import attribute_scores, check_all, check_scene
from dclm_nb.image.scenes import (
    COLOURS, OPPOSITE, RELATIONS, SHAPES, SPLITS, Group, Pair, SceneSpec, captions_of, coverage, draw, meaning,
    parse_caption, place, scene_set,
)

SPECS = {
    "small": SceneSpec(),
    "large": SceneSpec(size=32, colours=8, shapes=6, smallest=10.0, largest=13.0),
}


def captions(spec: SceneSpec):
    """Any caption of a spec, of either split."""
    return st.sampled_from([caption for split in SPLITS for kind in captions_of(spec, split) for caption in kind])


def other_than(names, *used): return st.sampled_from([name for name in names if name not in used])


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@fuzz(150)
@given(data=st.data())
def test_a_caption_reads_back_in_any_case_and_spacing(spec, data):
    caption = data.draw(captions(spec))
    text = str(caption)
    assert parse_caption(text, spec) == caption
    loud = "".join(c.upper() if data.draw(st.booleans()) else c for c in text).replace(
        " ", data.draw(st.sampled_from([" ", "  ", "\n\t"]))
    )
    assert parse_caption(loud, spec) == caption


@fuzz(150)
@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from([*COLOURS, *SHAPES, *RELATIONS, "a", "three", "mauve"]), max_size=7).map(" ".join)
)
def test_any_other_sentence_is_refused_or_understood_never_something_else(text):
    try: caption = parse_caption(text, SPECS["small"])
    except UserError: return
    assert parse_caption(str(caption), SPECS["small"]) == caption


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@fuzz(200)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_what_is_placed_and_drawn_is_what_the_caption_asks_for(spec, data, seed):
    caption = data.draw(captions(spec))
    assert check_scene(draw(place(caption, spec, np.random.default_rng(seed)), spec), caption, spec).all


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_checker_is_right_on_99_percent_of_ground_truth(spec, split):
    scenes = scene_set(400, spec, seed=11, split=split)
    assert min(attribute_scores(check_all(scenes.images, scenes.captions, spec)).values()) >= 0.99


@fuzz(200)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_a_picture_does_not_pass_for_a_caption_that_is_wrong_in_one_word(data, seed):
    spec = SPECS["small"]
    caption = data.draw(captions(spec))
    image = draw(place(caption, spec, np.random.default_rng(seed)), spec)
    changes = {
        "colour": other_than(spec.colour_names, caption.colour, getattr(caption, "other_colour", "")),
        "shape": other_than(spec.shape_names, caption.shape),
    }
    if isinstance(caption, Pair): changes["relation"] = st.just(OPPOSITE[caption.relation])
    else: changes["count"] = other_than(range(1, spec.max_count + 1), caption.count)
    name = data.draw(st.sampled_from(sorted(changes)))
    wrong = type(caption)(**(vars(caption) | {name: data.draw(changes[name])}))
    check = check_scene(image, wrong, spec)
    assert not getattr(check, name) and not check.all


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_no_scene_is_in_two_splits_however_it_is_said_and_none_is_missing(spec):
    meant = {split: {meaning(c, spec) for kind in captions_of(spec, split) for c in kind} for split in SPLITS}
    assert (
        not meant["train"] & meant["tuning"]
        and not meant["train"] & meant["held out"]
        and not meant["tuning"] & meant["held out"]
    )
    things, total = spec.colours * spec.shapes, sum(len(kind) for split in SPLITS for kind in captions_of(spec, split))
    assert total == len(RELATIONS) * things * (things - spec.shapes) + spec.max_count * things
    shares = {split: sum(map(len, captions_of(spec, split))) / total for split in SPLITS}
    assert 0.6 < shares["train"] < 0.8 and 0.05 < shares["tuning"] < 0.15 and 0.14 < shares["held out"] < 0.26
    words = lambda split: {
        word for kind in captions_of(spec, split) for c in kind for word in str(c).removesuffix("s").split()
    }
    assert words("held out") | words("tuning") <= words("train"), "every word of a held-out caption is seen in training"
    kept = {str(c) for split in SPLITS[1:] for kind in captions_of(spec, split) for c in kind}
    assert (
        not kept & set(scene_set(1000, spec).captions) and set(scene_set(200, spec, split="held out").captions) <= kept
    )


def test_turning_a_pair_round_keeps_its_meaning_and_its_split():
    spec = SPECS["small"]
    for pair in captions_of(spec, "held out")[0][:200]:
        turned = Pair(pair.other_colour, pair.other_shape, OPPOSITE[pair.relation], pair.colour, pair.shape)
        assert meaning(turned, spec) == meaning(pair, spec) and turned in captions_of(spec, "held out")[0]


def test_no_picture_is_drawn_twice_and_no_list_of_patches_is_all_there_is():
    """A thousand pictures, all different, and nearly every patch that is not ground occurs once."""
    images = scene_set(1000).images
    assert len({bytes(i.numpy()) for i in images}) == 1000
    patches = images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(-1, 48).numpy()
    ground = (patches == 128).all(axis=1)
    different = len({bytes(p) for p in patches[~ground]})
    assert different > 0.6 * (~ground).sum() > 5000


@settings(max_examples=100, deadline=None)
@given(shape=st.sampled_from(sorted(SHAPES)), row=st.floats(5, 7), column=st.floats(5, 7), side=st.floats(6, 9.5))
def test_coverage_is_a_share_and_moves_with_the_object(shape, row, column, side):
    here, there = coverage(shape, row, column, side, 12), coverage(shape, row + 12, column, side, 36)
    assert here.min() >= 0 and here.max() <= 1 and 0.3 * side ** 2 < here.sum() < 1.1 * side ** 2
    assert abs(here - there[12:24, :12]).mean() < 0.02, (
        "but for points on the very edge, which rounding may put on either side"
    )


def test_objects_never_touch_even_where_they_fill_their_cells():
    """Four of a kind stay four blobs, whatever their places."""
    spec = SceneSpec(size=32, cells=2, max_count=4, smallest=14.5, largest=14.5, margin=0.75)
    for seed in range(50):
        caption = Group(4, "red", "square")
        assert check_scene(draw(place(caption, spec, np.random.default_rng(seed)), spec), caption, spec).count


def test_a_set_does_not_depend_on_its_size_but_on_its_seed_and_split():
    few, many = scene_set(5), scene_set(9)
    assert few.captions == many.captions[:5] and few.images.equal(many.images[:5])
    assert scene_set(5, seed=1).captions != few.captions


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 17},
        {"colours": 0},
        {"shapes": 99},
        {"max_count": 5},
        {"largest": 11},
        {"smallest": 2},
        {"smallest": 9.6},
        {"margin": 0.5},
        {"tint": 60},
    ],
)
def test_a_world_that_cannot_be_drawn_is_refused(changes):
    with pytest.raises(UserError): SceneSpec(**changes)


def test_the_checker_refuses_other_sizes_and_empty_sets():
    scenes = scene_set(2)
    with pytest.raises(UserError, match="32 pixels"):
        check_all(scenes.images, ["a red circle left of a blue square"] * 2, SPECS["large"])
    with pytest.raises(UserError, match="empty"): check_all(scenes.images[:0], [], SceneSpec())
    with pytest.raises(UserError, match="cannot be compared"):
        check_all(scenes.images, scenes.captions[:1], SceneSpec())
    with pytest.raises(UserError, match="at least one"): scene_set(0)
