"""What the tests of killed commands start: in a module, so that workers can import it."""
import time
from pathlib import Path


def sleeps(config, seed, folder):
    "A run that takes a minute."
    time.sleep(60)
    return {}


class Slow:
    "Things that take long to load, for a loader of torch."
    def __len__(self): return 100

    def __getitem__(self, i):
        time.sleep(60)
        return i


def loads(workers: int = 2):
    from torch.utils.data import DataLoader
    for _ in DataLoader(Slow(), num_workers=workers): pass


def runs(folder: str, workers: int = 2):
    from dclm_nb.core.parallel import PlannedRun, run_in_parallel
    from dclm_nb.core.store import RunStore
    run_in_parallel([PlannedRun(str(i), sleeps, {"x": i}) for i in range(3)], RunStore(Path(folder)), workers)
