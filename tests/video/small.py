"""What the tests of the video model share: tiny networks, and clips of a spot that moves."""
import torch

from dclm_nb.video.latent_clips import Clips
from dclm_nb.video.objectives import VideoNetwork
from dclm_nb.video.unet import UNetSettings, build_unet
from dclm_nb.video.words import WordTable

DWARF = UNetSettings(
    channels_in=4, channels_out=4, widths=(64,), attention=(True,), heads=(2,), layers=1, context=8, numbers=2,
    number_width=32, frames=4, size=4,
)


def chance(seed: int = 0) -> torch.Generator: return torch.Generator().manual_seed(seed)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor: return torch.randn(*shape, generator=chance(seed))


def shaken(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    "The module with noise on every parameter, so that no layer is silent by chance of its initialisation."
    source = chance(seed)
    with torch.no_grad():
        for parameter in module.parameters(): parameter += 0.1 * torch.randn(parameter.shape, generator=source)
    return module


def spots(n: int = 16, frames: int = 4, **more) -> Clips:
    "A spot in a row of its own that moves right; the caption is its row."
    latents = torch.zeros(n, frames, 4, 4, 4)
    for clip in range(n):
        for t in range(frames): latents[clip, t, :, clip % 4, min(t, 3)] = 4.0
    captions = torch.tensor([[clip % 4 + 1] for clip in range(n)])
    return Clips(latents, captions, torch.full((n,), 8.0), torch.full((n,), 60.0), **more)


def dwarf(seed: int = 0, **parts) -> VideoNetwork:
    return VideoNetwork(build_unet(DWARF, seed), WordTable(5, 1, 8), **parts)
