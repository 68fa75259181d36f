"""Small films for the tests, as strangers make them."""
from fractions import Fraction
from pathlib import Path

import numpy as np


def ball(frames: int = 40, height: int = 48, width: int = 80) -> np.ndarray:
    "A yellow square that crosses a blue picture, uint8 \"T H W 3\"."
    film = np.full((frames, height, width, 3), (30, 60, 90), np.uint8)
    for t in range(frames): film[t, 18:30, 1 + t * (width - 14) // frames:][:, :12] = (240, 190, 40)
    return film


def texture(frames: int = 40, seed: int = 0, step: int = 1, height: int = 48, width: int = 80) -> np.ndarray:
    "Blocks of random colours that move to the right, `step` pixels a frame."
    blocks = np.random.default_rng(seed).integers(0, 255, (height // 4, width // 4, 3)).astype(np.uint8)
    picture = blocks.repeat(4, 0).repeat(4, 1)
    return np.stack([np.roll(picture, t * step, 1) for t in range(frames)])


def made(path, pictures, times=None, codec="libx264", pixels="yuv420p", rotation=None, **options) -> Path:
    "A film of pictures uint8 \"T H W 3\" shown at `times` (seconds; 25 a second)."
    import av
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, options={k: str(v) for k, v in options.items()})
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], pixels
        if times is not None: stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None: stream.set_display_rotation(rotation)
        for picture, moment in zip(pictures, np.arange(len(pictures)) / 25 if times is None else times):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = round(1000 * moment), Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return Path(path)


def song(path) -> Path:
    "A file with sound and no picture."
    import av
    with av.open(str(path), "w") as file:
        voice = file.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        file.mux(voice.encode(sound))
        file.mux(voice.encode())
    return Path(path)
