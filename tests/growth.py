"""Whether work grows with its input or with the square of it: told from processor seconds, as a clock also counts what
others do on the machine."""
import time
from collections.abc import Callable

TIMES = 32


def is_about_linear(work: Callable[[int], object], size: int) -> bool:
    """Whether `work(size)` costs less than 200 times what a 32nd of it costs. Linear work costs 32 times as much,
    quadratic work 1024 times; below 5 ms nothing is told apart."""
    small, large = (_seconds(work, n) for n in (size // TIMES, size))
    return large < 200 * max(small, 0.005)


def _seconds(work: Callable[[int], object], size: int) -> float:
    began = time.process_time()
    work(size)
    return time.process_time() - began
