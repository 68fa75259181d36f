"""Patch codecs: exactness, determinism and everything that can be wrong with what they are given."""
import json
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from dclm_nb.core.errors import UserError
from dclm_nb.image.codecs import (
    Codec,
    PatchPCA,
    PatchVQ,
    codec_table,
    fit_codebook,
    fit_codec,
    from_patches,
    load_codec,
    nearest_code,
    principal_axes,
    psnr,
    to_patches,
    unique_patches,
)
from dclm_nb.image.scenes import SceneSpec, scene_set

SPEC = SceneSpec(size=24, cells=3, smallest=5, largest=6)
SCENES = scene_set(200, SPEC)


def noise(n: int = 20, size: int = 16, seed: int = 0) -> torch.Tensor:
    """Pictures without any structure: the worst case of a codec."""
    return torch.randint(256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_tokens_run_row_by_row():
    picture = torch.zeros(1, 3, 12, 12, dtype=torch.uint8)
    picture[0, :, 4:8, 8:12] = 255
    assert to_patches(picture, 4).float().mean(2)[0].tolist() == [0, 0, 0, 0, 0, 255, 0, 0, 0]
    deep = torch.arange(2 * 5 * 8 * 8).reshape(2, 5, 8, 8)
    assert torch.equal(from_patches(to_patches(deep, 2), 2), deep)


def test_all_components_reconstruct_every_picture_exactly():
    images = noise()
    codec = PatchPCA.fit(images, 48)
    other = noise(5, seed=1)
    assert torch.equal(codec.decode(codec.encode(other)), other)


def test_latents_have_one_scale_and_axes_stay_orthonormal():
    codec = fit_codec("pca-16", SCENES.images)
    latents = codec.encode(SCENES.images)
    assert abs(latents.square().mean().sqrt() - 1) < 1e-4 and abs(latents.mean()) < 1e-4
    # not whitened
    assert latents.flatten(0, 1).std(0).max() > 3 * latents.flatten(0, 1).std(0).min()
    assert torch.allclose(codec.basis.T @ codec.basis, torch.eye(16), atol=1e-5)


def test_components_are_those_of_a_plain_svd_of_the_patches():
    images = noise(30)
    _, variances, axes = principal_axes(images, 4)
    patches = to_patches(images, 4).flatten(0, 1).double()
    centred = patches - patches.mean(0)
    _, singular, rows = torch.linalg.svd(centred, full_matrices=False)
    assert torch.allclose(torch.from_numpy(variances), singular ** 2 / len(patches), rtol=1e-9)
    assert torch.allclose(
        (torch.from_numpy(axes) * rows.T).sum(0).abs(), torch.ones(48, dtype=torch.float64), atol=1e-6
    )


def test_order_of_the_pictures_does_not_matter():
    turned = SCENES.images[torch.randperm(len(SCENES), generator=torch.Generator().manual_seed(3))]
    for name in ("pca-8", "vq-64"):
        assert fit_codec(name, SCENES.images).fingerprint() == fit_codec(name, turned).fingerprint()


def test_another_process_fits_the_same_codec():
    code = (
        "from dclm_nb.image.codecs import fit_codec; from dclm_nb.image.scenes import SceneSpec, scene_set; import "
        "torch; torch.manual_seed(5); torch.rand(3);"
        "print(*(fit_codec(n, scene_set(200, SceneSpec(size=24, cells=3, smallest=5, largest=6)).images).fingerprint() "
        "for n in ('pca-16', 'vq-64')))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert out == [fit_codec(n, SCENES.images).fingerprint() for n in ("pca-16", "vq-64")]


def test_vocabulary_of_few_patches_is_those_patches():
    different = len(unique_patches(SCENES.images, 4)[0])
    codec = fit_codec("vq-4096", SCENES.images)
    assert codec.vocab_size == different < 4096
    assert torch.equal(codec.decode(codec.encode(SCENES.images)), SCENES.images)
    assert PatchVQ.fit(SCENES.images, different).vocab_size == different


def test_every_code_is_used_and_ids_fall_in_frequency():
    codec = fit_codec("vq-64", SCENES.images)
    counts = torch.bincount(codec.encode(SCENES.images).flatten(), minlength=codec.vocab_size)
    assert counts.min() > 0 and (counts.diff() <= 0).all()


def test_the_ground_keeps_its_grey_in_a_small_vocabulary():
    codec, ground = fit_codec("vq-32", SCENES.images), torch.full((1, 3, 24, 24), 128, dtype=torch.uint8)
    assert (codec.decode(codec.encode(ground)).int() - ground.int()).abs().max() <= 2


def test_nearest_code_agrees_with_all_distances_and_takes_the_first_of_equals():
    patches, codebook = noise(4).reshape(-1, 48), noise(1, seed=2).reshape(-1, 48)
    distances = (patches[:, None].int() - codebook[None].int()).square().sum(2)
    assert torch.equal(nearest_code(patches, codebook), distances.argmin(1))
    assert nearest_code(patches[:1], torch.cat([patches[:1], patches[:1]])).item() == 0
    assert nearest_code(patches[:0], codebook).shape == (0,)


def test_more_codes_lose_less():
    images = noise(60)
    values = [psnr(images, c.decode(c.encode(images))) for c in (fit_codec(f"vq-{n}", images) for n in (4, 32, 256))]
    assert values == sorted(values) and values[-1] > values[0] + 1
    values = [psnr(images, c.decode(c.encode(images))) for c in (fit_codec(f"pca-{n}", images) for n in (4, 16, 40))]
    assert values == sorted(values)


def test_a_great_many_different_patches_are_sampled_by_the_seed():
    patches, counts = unique_patches(noise(40), 4)
    few = lambda seed: fit_codebook(patches, counts, 16, seed=seed, rounds=2, limit=100)
    assert torch.equal(few(0), few(0)) and not torch.equal(few(0), few(1)) and few(0).shape == (16, 48)
    # never fewer than asked for
    assert fit_codebook(patches, counts, 200, rounds=1, limit=100).shape == (200, 48)


def test_ceilings_hold_the_pair_for_comparing_methods():
    spec = SceneSpec()
    train, judged = scene_set(1500, spec).images, scene_set(150, spec, seed=1)
    table = codec_table(
        [fit_codec(n, train) for n in ("pca-4", "pca-20", "vq-64", "vq-512")], judged.images, judged.captions, spec
    ).set_index("codec")
    assert table.loc[["pca-20", "vq-512"], "all"].min() >= 0.93
    assert table.loc[["pca-4", "vq-64"], "all"].max() < 0.7
    assert table.psnr.max() < 60 and table.numbers.tolist() == (table.tokens * [4, 20, 1, 1]).tolist()


@pytest.mark.parametrize("name", ["pca-8", "vq-64"])
def test_a_saved_codec_comes_back_whole(tmp_path, name):
    codec = fit_codec(name, SCENES.images)
    assert isinstance(codec, Codec) and codec.save(tmp_path / "deep" / "folder") == tmp_path / "deep" / "folder"
    same = load_codec(tmp_path / "deep" / "folder", size=24, kind=codec.kind)
    assert same.fingerprint() == codec.fingerprint() and torch.equal(
        same.encode(SCENES.images), codec.encode(SCENES.images)
    )
    # no temporary file stays
    assert not list((tmp_path / "deep" / "folder").glob(".*.tmp"))


def test_a_codec_that_is_replaced_halfway_is_noticed(tmp_path):
    first, second = (fit_codec("vq-64", SCENES.images, seed=seed) for seed in (0, 1))
    first.save(tmp_path)
    # killed between the two files
    (tmp_path / "codec.safetensors").write_bytes(safetensors.torch.save(second.tensors()))
    with pytest.raises(UserError, match="do not belong together"): load_codec(tmp_path)
    second.save(tmp_path)
    assert load_codec(tmp_path).fingerprint() == second.fingerprint()


@pytest.mark.parametrize("damage, words", [
    (lambda f: (f / "codec.json").unlink(), "codec.json is missing"),
    (lambda f: (f / "codec.safetensors").unlink(), "codec.safetensors is missing"),
    (lambda f: (f / "codec.json").write_text("{"), "cannot be read"),
    (lambda f: (f / "codec.json").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
    (lambda f: (f / "codec.json").write_text("[]"), "does not describe a codec"),
    (lambda f: (f / "codec.safetensors").write_bytes((f / "codec.safetensors").read_bytes()[:-7]), "damaged"),
    (lambda f: (f / "codec.safetensors").write_bytes(b""), "damaged"),
    (lambda f: (f / "codec.safetensors").write_bytes(safetensors.torch.save({"other": torch.ones(1)})), "damaged"),
    (lambda f: change(f, "family", "PatchVG"), "did you mean 'PatchVQ'"),
    (lambda f: change(f, "family", "PatchPCA"), "damaged"),
    (lambda f: change(f, "settings", {"name": "vq-64", "size": 48, "patch": 4}), "do not belong together"),
    (lambda f: change(f, "settings", None), "damaged"),
    (lambda f: change(f, "fingerprint", 7), "does not describe a codec"),
])
def test_a_damaged_codec_is_one_clear_line(tmp_path, damage, words):
    fit_codec("vq-64", SCENES.images).save(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match=words): load_codec(tmp_path)


def change(folder, key, value):
    about = json.loads((folder / "codec.json").read_text())
    (folder / "codec.json").write_text(json.dumps(about | {key: value}))


def test_saving_where_nothing_can_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        fit_codec("pca-4", SCENES.images).save(tmp_path / "file" / "codec")


@pytest.mark.parametrize(
    "images, words",
    [
        (SCENES.images.float() / 255, "uint8"),
        (SCENES.captions, "array of numbers|a Tensor"),
        (SCENES.images[0], r"\(pictures, 3, size, size\)"),
        (SCENES.images[:, :, :, :20], "square"),
        (SCENES.images[:, :1], "pictures, 3"),
        (SCENES.images[:, :, :20, :20], "24 pixels a side, not 20"),
    ],
)
def test_pictures_that_cannot_be_encoded_are_refused(images, words):
    for codec in (fit_codec("pca-4", SCENES.images), fit_codec("vq-16", SCENES.images)):
        with pytest.raises(UserError, match=words): codec.encode(images)
        assert codec.encode(SCENES.images.numpy()).equal(codec.encode(SCENES.images))


@pytest.mark.parametrize(
    "latents, words",
    [
        (torch.zeros(2, 36), r"\(pictures, 36, 4\)"),
        (torch.zeros(2, 35, 4), r"not \(2, 35, 4\)"),
        (torch.zeros(2, 36, 4, dtype=torch.long), "continuous"),
        (torch.full((1, 36, 4), float("inf")), "diverged"),
    ],
)
def test_numbers_that_no_picture_has_are_refused(latents, words):
    with pytest.raises(UserError, match=words): fit_codec("pca-4", SCENES.images).decode(latents)


@pytest.mark.parametrize(
    "ids, words",
    [
        (torch.zeros(2, 36), "ids"),
        (torch.full((1, 36), 16), "0 to 15"),
        (torch.full((1, 36), -1), "-1"),
        (torch.zeros(1, 37, dtype=torch.long), "36"),
        (torch.zeros(1, 36, dtype=torch.bool), "bool"),
    ],
)
def test_ids_outside_the_vocabulary_are_refused(ids, words):
    with pytest.raises(UserError, match=words): fit_codec("vq-16", SCENES.images).decode(ids)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: fit_codec("vq", SCENES.images), "unknown codec"),
        (lambda: fit_codec("vq-0", SCENES.images), "unknown codec"),
        (lambda: fit_codec("vq-1", SCENES.images), "at least 2"),
        (lambda: fit_codec("pca-49", SCENES.images), "between 1 and 48"),
        (lambda: fit_codec("pca-4", SCENES.images, patch=7), "do not split"),
        (lambda: fit_codec("pca-4", SCENES.images[:0]), "none"),
        (lambda: fit_codec("vq-4", SCENES.images[:0]), "none"),
        (lambda: fit_codec("pca-4", torch.full_like(SCENES.images, 9)), "the same"),
        (lambda: psnr(SCENES.images, SCENES.images[:1]), "shapes"),
        (lambda: psnr(SCENES.images.float(), SCENES.images), "uint8"),
    ],
)
def test_what_cannot_be_fitted_or_measured_says_why(make, words):
    with pytest.raises(UserError, match=words): make()


def test_pictures_that_are_all_one_patch_have_a_vocabulary_of_one():
    flat = torch.full((3, 3, 8, 8), 9, dtype=torch.uint8)
    codec = fit_codec("vq-16", flat)
    assert codec.vocab_size == 1 and torch.equal(codec.decode(codec.encode(flat)), flat)


def test_empty_sets_go_through():
    for name in ("pca-4", "vq-16"):
        codec = fit_codec(name, SCENES.images)
        assert codec.decode(codec.encode(SCENES.images[:0])).shape == (0, 3, 24, 24)


def test_the_table_has_a_frechet_distance_where_judges_are_given():
    """The worse codec lies farther from real pictures."""
    from dclm_nb.image.features import JudgeTraining, fit_feature_net, fit_two_tower
    from dclm_nb.image.judges import JudgeSuite
    spec = SceneSpec()
    few, held = JudgeTraining(scenes=200, steps=20), scene_set(64, spec, seed=1)
    judges = JudgeSuite.build(fit_feature_net(spec, few), fit_two_tower(spec, few), n=64)
    codecs = [fit_codec(name, scene_set(200, spec).images) for name in ("pca-2", "pca-16")]
    table = codec_table(codecs, held.images, held.captions, spec, judges)
    assert table.frechet_distance[0] > table.frechet_distance[1] > 0
    assert "frechet_distance" not in codec_table(codecs, held.images, held.captions, spec)
