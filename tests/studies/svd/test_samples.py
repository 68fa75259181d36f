"""Films that begin with a picture: what is given, what is measured, and what stays shut."""
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dclm_nb.core.errors import UserError
from dclm_nb.studies.svd.given_measures import (
    MoveReader, enlarged, faded, fidelity, film_motion, ground_shift, middle_psnr, rightward, saturation_error,
    signature_of,
)
from dclm_nb.studies.svd.given_runs import (
    CAMERA_SETS, GivenRuns, add_mixer_lora, draw_given, given_network, load_given, moves_world, plain_world, read_films,
    take_over, world_of,
)
from dclm_nb.studies.svd.pretraining import Bar, gate
from dclm_nb.studies.svd.sample_figures import gate_of, given_workshop, guidance_frame, shut, text_strips
from dclm_nb.studies.svd.strips import Strip, marks_of, moving, strip_figure
from dclm_nb.studies.svd.temporal_prompt import LAYER_PROMPTS, draw_prompted, prompt_pairs
from dclm_nb.studies.svd.training_runs import TrainingRuns, new_network
from dclm_nb.video.latent_clips import Clips
from dclm_nb.video.vae import PixelCodec
from dclm_nb.video.world import Meaning, WorldSpec, clip_of, clip_set, draw_scene

SIZES = {"widths": [8, 16], "lanes": [2, 4]}
WORLD = replace(WorldSpec(camera=0.0, textured=0.0, radius=(0.18, 0.24)).clean(), seconds=(3.0, 3.0))
CLIPS = clip_set(6, WORLD, seed=1)


def some_clips(n: int = 3) -> Clips:
    chance = torch.Generator().manual_seed(0)
    ones = torch.ones(n)
    return Clips(torch.randn(n, 8, 12, 8, 8, generator=chance), torch.zeros(n, 1, dtype=torch.int64), 8 * ones,
                 127 * ones, 10 * ones)


def shaken(network):
    "A network whose zero weights are no longer zero."
    torch.manual_seed(0)
    for parameter in network.parameters():
        if not parameter.any(): torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


@pytest.mark.parametrize("task", ["picture", "ends", "views"])
def test_films_depend_on_what_is_given_and_on_nothing_behind_it(task):
    network, true = shaken(given_network(task, SIZES, 12, seed=0)), some_clips()
    drawn = lambda clips: draw_given(network, task, clips, 127, (1.0, 2.0), 2, seed=0)
    first = drawn(true)
    hidden = replace(true, latents=true.latents.clone())
    hidden.latents[:, 1:-1] += 1.0                          # the frames that nobody may see
    assert torch.equal(first, drawn(hidden)) and first.shape == true.latents.shape
    other = replace(true, latents=true.latents.clone())
    other.latents[:, 0] += 1.0
    assert not torch.allclose(first, drawn(other), atol=1e-3)


def test_only_ends_see_the_last_frame():
    for task, sees in (("picture", False), ("ends", True)):
        network, true = shaken(given_network(task, SIZES, 12, seed=0)), some_clips()
        other = replace(true, latents=true.latents.clone())
        other.latents[:, -1] += 1.0
        same = torch.equal(*(draw_given(network, task, clips, 127, (1.0, 1.0), 2, seed=0) for clips in (true, other)))
        assert same != sees


def test_buckets_reach_the_network():
    network, true = shaken(given_network("picture", SIZES, 12, seed=0)), some_clips()
    slow, fast = (draw_given(network, "picture", true, bucket, (1.0, 1.0), 2, seed=0) for bucket in (16, 240))
    assert not torch.allclose(slow, fast)


def test_weights_are_taken_over_by_name_and_shape():
    network, base = given_network("picture", SIZES, 12, seed=0), new_network(SIZES, seed=3).state_dict()
    taken = take_over(network, base)
    own = network.state_dict()
    assert taken == sum(name in own and own[name].shape == value.shape for name, value in base.items()) > 50
    assert torch.equal(own["unet.down.0.time_mixer.first.weight"], base["unet.down.0.time_mixer.first.weight"])
    assert own["unet.caption.weight"].shape != base["unet.caption.weight"].shape
    with pytest.raises(UserError, match="task"): given_network("sound", SIZES, 12, seed=0)


def test_camera_matrices_lie_over_maps_along_time_and_change_nothing_at_first():
    pytest.importorskip("peft")
    network, true = shaken(given_network("picture", SIZES, 12, seed=0)), some_clips()
    before = draw_given(network, "picture", true, 127, (1.0, 1.0), 2, seed=0)
    add_mixer_lora(network.unet, rank=2)
    matrices = [name for name, _ in network.named_parameters() if ".lora_" in name]
    assert matrices and all("time_mixer" in name for name in matrices)
    assert torch.allclose(before, draw_given(network, "picture", true, 127, (1.0, 1.0), 2, seed=0), atol=1e-5)
    with pytest.raises(UserError, match="time mixers"): add_mixer_lora(torch.nn.Linear(2, 2), rank=2)


def test_worlds_survive_their_plain_values_and_unknown_sets_are_named():
    for name in ("paths", "far", *CAMERA_SETS, "orbits"):
        world = moves_world(name, WORLD)
        assert world_of(plain_world(world)) == world and world.seconds == (3.0, 3.0)
    with pytest.raises(UserError, match="set of clips"): moves_world("explosions", WORLD)


def test_fidelity_sees_the_ground_and_not_the_shape():
    clip = CLIPS.clips[0]
    assert fidelity(clip, clip[0], WORLD).min() > 40
    darker = np.clip(clip.astype(int) - 20, 0, 255).astype(np.uint8)
    assert fidelity(darker, clip[0], WORLD).max() < 30


def test_saturation_errors_count_both_ways():
    clip = CLIPS.clips[0].astype(np.float32)
    grey = clip.mean(-1, keepdims=True)
    scaled = [np.clip(grey + by * (clip - grey), 0, 255).astype(np.uint8) for by in (0.5, 1.0, 1.5)]
    pale, same, strong = (saturation_error(some, CLIPS.clips[0][0]) for some in scaled)
    assert pale > 3 * same and strong > 3 * same


def test_fading_keeps_the_ends_and_only_what_lies_between_counts():
    blend = faded(CLIPS.clips)
    assert np.array_equal(blend[:, [0, -1]], CLIPS.clips[:, [0, -1]])
    spoiled = CLIPS.clips.copy()
    spoiled[:, [0, -1]] = 0
    assert np.array_equal(middle_psnr(spoiled, CLIPS.clips), middle_psnr(CLIPS.clips, CLIPS.clips))
    assert middle_psnr(blend, CLIPS.clips).max() < 30


def test_flow_signatures_have_signs():
    pytest.importorskip("cv2")
    wide = replace(WORLD, camera=1.0)
    scenes = [draw_scene(wide, "signs", i) for i in range(120)]
    mean = lambda move, value: np.mean([value(signature_of(clip_of(s))) for s in scenes if s.meaning.move == move][:8])
    assert mean("pan left", lambda s: s.right) > 2 and mean("pan right", lambda s: s.right) < -2
    assert mean("zoom in", lambda s: s.growth) > 0 > mean("zoom out", lambda s: s.growth)
    still = np.repeat(CLIPS.clips[:1, :1], 8, axis=1)[0]
    assert film_motion(still) == pytest.approx(0, abs=0.01) and enlarged(still).shape == (8, 64, 64, 3)
    with pytest.raises(UserError, match="single|one kind"): MoveReader.fit({"static": CLIPS.clips})


def test_pairs_of_prompts_differ_in_the_move_alone():
    pairs = prompt_pairs(WORLD, 36)
    assert all((a.colour, a.shape) == (b.colour, b.shape) and a.move != b.move for a, b in pairs)
    asked = [sum(b.move == move for _, b in pairs) for move in WORLD.motion_names]
    assert sum(asked) == 36 and min(asked) >= 6


def test_each_prompt_reaches_its_layers():
    model, codec = shaken(new_network(SIZES, seed=0)), PixelCodec.fit(CLIPS.clips)
    one, two = ["a red circle moves left"], ["a red circle moves right"]
    films = {name: draw_prompted(model, codec, (one, two)[a], (one, two)[b], 0, 2, 2.0)
             for name, (a, b) in LAYER_PROMPTS.items()}
    names = list(films)
    for i, name in enumerate(names):
        for other in names[i + 1:]: assert not np.array_equal(films[name], films[other]), (name, other)


def test_marks_tick_what_is_seen_and_nothing_else():
    scene, clip = CLIPS.scenes[0], CLIPS.clips[0]
    assert "✗" not in marks_of(clip, scene.meaning, WORLD)
    wrong = replace(scene.meaning, move="up" if scene.meaning.move != "up" else "down")
    assert marks_of(clip, wrong, WORLD).endswith("move ✗")
    assert marks_of(clip, Meaning("red" if scene.meaning.colour != "red" else "blue"), WORLD) == "colour ✗"


def test_strips_are_drawn_and_move():
    strips = [Strip("a", CLIPS.clips[0], "asked", "move ✓", (CLIPS.clips[0, 0],)), Strip("b", CLIPS.clips[1])]
    assert len(strip_figure(strips).axes) == 2 and strip_figure([]) is None
    seen = moving(strips, columns=2)
    assert seen.frames.dtype == np.uint8 and len({frame.tobytes() for frame in seen.frames}) > 1
    assert "Nothing is drawn" in moving([])


def test_nothing_is_drawn_at_replay_and_shut_gates_withhold():
    assert given_workshop("replay") is None and text_strips(None, 0) == []
    assert guidance_frame(None, (0,)).empty and gate_of(None, (0,)) == []
    from dclm_nb.core.statistics import Interval
    low, high = Bar("films that move", Interval(0.4, 0.6, 0.8), 0.5), Bar("colour kept", Interval(0.8, 0.9, 1.0), 0.3)
    assert shut([low, high], ["claim-12"]) == {"claim-12": "the gate is shut: films that move"}
    assert shut([high], ["claim-12"]) == {}


def test_a_smoke_run_goes_from_base_to_films_and_is_found_again(tmp_path):
    pytest.importorskip("rapidocr"), pytest.importorskip("peft")
    from dclm_nb.core.store import RunStore
    from dclm_nb.studies.svd.profiles import profile
    runs = GivenRuns(TrainingRuns(profile("smoke").training, RunStore(tmp_path), 0))
    model = runs.given("ends", 0, "random")
    drawn = runs.films(model, 0, of="far")
    films, true = read_films(drawn)
    assert films.shape == true.shape == (4, 8, 16, 16, 3) and model.result["taken"] == 0
    assert runs.films(model, 0, of="far").key == drawn.key
    assert load_given(model, 12).gap is not None
    assert len(np.load(runs.cameras(0).folder / "clips.npy")) == 6


def test_all_gates_have_one_floor_of_quality():
    runs, seeds = given_workshop("smoke"), (0, 1)
    bars = [*gate(runs.shop, seeds), *gate_of(runs, seeds), *gate_of(runs, seeds, "text")]
    floors = [bar.needed for bar in bars if bar.what.startswith("quality")]
    assert len(floors) == 3 and len(set(floors)) == 1


def test_guidance_leads_are_signed_and_leave_out_films_that_stand_still(monkeypatch):
    "A repeated picture is as like as can be, and is no film that moves."
    from dclm_nb.studies.svd import sample_figures
    still = np.repeat(CLIPS.clips[:, :1], 8, axis=1)
    drifting = np.clip(CLIPS.clips + np.linspace(0, 40, 8)[:, None, None, None], 0, 255).astype(np.uint8)
    rows = {"linear": still, "constant low": drifting, "constant middle": still, "constant high": drifting}
    monkeypatch.setattr(sample_figures, "_under_weights", lambda *_: {r: (f, CLIPS.clips) for r, f in rows.items()})
    leads = sample_figures._leads(SimpleNamespace(shop=SimpleNamespace(world=WORLD)), 0)
    low, middle = (leads[f"likeness, decibels above constant {name}"] for name in ("low", "middle"))
    assert low["all films"] > 5 and middle["all films"] == 0 and np.isnan(low["films that move under both"])


def test_the_ground_of_a_pan_goes_along_and_that_of_a_walking_shape_does_not():
    wide = replace(WORLD, camera=1.0)
    scenes = [draw_scene(wide, "kinds", 3, i) for i in range(200)]
    pans = [clip_of(scene) for scene in scenes if scene.meaning.move == "pan left"][:6]
    walks = clip_set(60, WORLD, seed=5)
    walking = [clip for clip, scene in zip(walks.clips, walks.scenes) if scene.meaning.move == "right"][:6]
    ground = lambda clips: np.mean([rightward(clip, WORLD)[0] for clip in clips])
    assert ground(pans) > 1 > 0.3 > abs(ground(walking)) and np.mean([rightward(c, WORLD)[1] for c in walking]) > 1


@pytest.mark.parametrize("by", [-2, -1, 0, 1, 3])
def test_the_ground_is_found_where_it_was_moved_to(by):
    wide = np.random.default_rng(3).integers(90, 160, (16, 24, 3)).astype(np.uint8)
    film = np.stack([wide[:, 4:20]] + [wide[:, 4 - by:20 - by]] * 7)
    assert ground_shift(film, WORLD) == by


def test_a_shape_that_moves_moves_no_ground():
    assert [ground_shift(clip, WORLD) for clip in CLIPS.clips] == [0] * len(CLIPS)
