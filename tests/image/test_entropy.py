"""The entropy floor: right where it can be counted by hand, never above the truth, and refused where it would not
hold."""
import math

import pytest
import torch

from dclm_nb.core.errors import UserError
from dclm_nb.image.codecs import fit_codec
from dclm_nb.image.entropy import arrangements, entropy_floor, object_codes, seen_entropy
from dclm_nb.image.scenes import SceneSpec, scene_set

SPEC = SceneSpec()
CODEC = fit_codec("vq-64", scene_set(400).images)


@pytest.mark.parametrize("counts", [[1], [1, 1], [3, 1], [5, 4, 3, 2, 1]])
def test_the_entropy_of_rows_is_that_of_their_shares(counts):
    rows = torch.cat([torch.full((n, 3), i) for i, n in enumerate(counts)])
    assert seen_entropy(rows) == pytest.approx(-sum(n / sum(counts) * math.log(n / sum(counts)) for n in counts))


def test_what_was_not_seen_makes_it_too_low_never_too_high():
    generator = torch.Generator().manual_seed(0)
    uniform = torch.randint(1000, (50, 200, 1), generator=generator)
    seen = [seen_entropy(rows) for rows in uniform]
    assert max(seen) <= math.log(200) < math.log(1000) and sum(seen) / 50 < seen_entropy(
        uniform.reshape(-1, 1)
    ) < math.log(1000)


def test_a_caption_holds_its_cells_and_its_objects():
    thing = seen_entropy(object_codes(CODEC, SPEC, "red", "circle", 200))
    one, two = (entropy_floor(CODEC, SPEC, [text], 200) for text in ("one red circle", "two red circles"))
    assert one == pytest.approx((math.log(4) + thing) / 36) and two == pytest.approx((math.log(6) + 2 * thing) / 36)
    assert entropy_floor(CODEC, SPEC, ["one red circle", "two red circles"], 200) == pytest.approx((one + two) / 2)
    assert [
        arrangements(text, SceneSpec(size=36, cells=3))
        for text in ("a red circle above a blue square", "two red circles")
    ] == [9, 36]


def test_the_codes_of_one_object_are_those_of_its_cell_in_a_whole_picture():
    whole = CODEC.encode(torch.from_numpy(__import__("numpy").stack([_alone(seed) for seed in range(5)])))
    corner = whole.view(5, 6, 6)[:, :3, :3].reshape(5, 9)
    ground = whole.view(5, 6, 6)[:, 3:, 3:]
    assert (ground == ground[0, 0, 0]).all() and not (corner == ground[0, 0, 0]).all(dim=1).any()
    assert object_codes(CODEC, SPEC, "red", "circle", 7).shape == (7, 9)


def _alone(seed: int):
    import numpy as np
    from dclm_nb.image.scenes import draw, place_one
    return draw([place_one("red", "circle", 0, 0, SPEC, np.random.default_rng(seed))], SPEC)


def test_patches_across_cells_and_codecs_that_lose_objects_are_refused():
    with pytest.raises(UserError, match="cross the cells"):
        object_codes(CODEC, SceneSpec(size=22, largest=9), "red", "circle", 2)
    with pytest.raises(UserError, match="can vanish"):
        entropy_floor(fit_codec("vq-2", scene_set(100).images), SPEC, ["one black cross"], 300)
