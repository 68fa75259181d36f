"""Codecs: frames to latents and back, behind one interface."""
import numpy as np
import pytest
import torch
from small import numbers

from dclm_nb.core.errors import UserError
from dclm_nb.video.vae import TINY_VAE, PixelCodec, TemporalVAE, VideoCodec, build_vae, to_frames, to_numbers

FILMS = np.random.default_rng(0).integers(0, 256, (3, 4, 8, 8, 3), dtype=np.uint8)


def test_bytes_come_back():
    assert np.array_equal(to_frames(to_numbers(FILMS)), FILMS)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_pixels_come_back_through_latents_of_size_one(factor):
    codec = PixelCodec.fit(FILMS, factor)
    latents = codec.encode(to_numbers(FILMS))
    assert latents.shape == (3, 4, 3 * factor**2, 8 // factor, 8 // factor)
    assert torch.allclose(latents.movedim(2, 0).flatten(1).std(1), torch.ones(codec.channels), atol=1e-4)
    assert np.array_equal(to_frames(codec.decode(latents)), FILMS)


def test_a_codec_is_kept_in_a_file(tmp_path):
    codec = PixelCodec.fit(FILMS)
    codec.save(tmp_path / "codec.json")
    back = PixelCodec.load(tmp_path / "codec.json")
    assert back.fingerprint() == codec.fingerprint()
    for damage in ("", "[]", "{}", '{"factor": "two", "mean": [], "scale": []}'):
        (tmp_path / "codec.json").write_text(damage)
        with pytest.raises(UserError): PixelCodec.load(tmp_path / "codec.json")


def test_a_film_s_latents_do_not_depend_on_its_neighbours():
    pytest.importorskip("diffusers")
    vae = TemporalVAE(build_vae(TINY_VAE), chunk=4)
    assert isinstance(vae, VideoCodec) and isinstance(PixelCodec.fit(FILMS), VideoCodec)
    with torch.no_grad():
        latents = vae.encode(to_numbers(FILMS))
        assert latents.shape == (3, 4, vae.channels, 8 // vae.factor, 8 // vae.factor)
        assert torch.allclose(vae.decode(latents)[1:2], vae.decode(latents[1:2]), atol=1e-5)


def test_the_temporal_decoder_looks_along_time():
    pytest.importorskip("diffusers")
    vae, latents = TemporalVAE(build_vae(TINY_VAE)), numbers(1, 4, 4, 4, 4)
    with torch.no_grad():
        for mixer in [m for m in vae.vae.modules() if hasattr(m, "mix_factor")]: mixer.mix_factor.fill_(0.0)
        whole, parts = vae.decode(latents), torch.cat([vae.decode(latents[:, t:t + 1]) for t in range(4)], 1)
    assert not torch.allclose(whole, parts, atol=1e-4)


@pytest.mark.parametrize("call, said", [
    (lambda: to_numbers(FILMS.astype(np.float32)), "films are bytes"),
    (lambda: to_frames(torch.full((1, 1, 3, 2, 2), torch.nan)), "diverged"),
    (lambda: PixelCodec.fit(FILMS, 3), "do not split into 3 x 3"),
    (lambda: PixelCodec.fit(np.zeros_like(FILMS)), "never changes"),
])
def test_errors(call, said):
    with pytest.raises(UserError, match=said): call()
