"""When each step of a training ended, for whatever loop steps a torch optimizer, in whatever process.

    MANTA_CLOCK=FOLDER python benchmarks/clock.py SCRIPT WORDS...     # a script that knows nothing of it
    model.name=benchmarks.clock:resnet18                              # a job of Manta, on Ray too
    read_clocks(FOLDER)                                               # {pid: [seconds since 1970, ...]}

Every process writes a line per step to a file of its own. That takes microseconds, the same for all.
"""

import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

VARIABLE = "MANTA_CLOCK"
_files: list[Any] = []


def start_clock() -> None:
    """Note when steps end from now on, in this process; does nothing the second time, or unasked."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    folder = os.environ.get(VARIABLE)
    if folder is None or _files:
        return
    file = (Path(folder) / f"{os.getpid()}.txt").open("a", buffering=1)
    _files.append(file)
    register_optimizer_step_post_hook(lambda *_: file.write(f"{time.time():.6f}\n") and None)


def read_clocks(folder: Path) -> dict[int, list[float]]:
    """Return the ends of the steps of each process that has taken one."""
    found = {}
    for path in folder.glob("*.txt"):
        lines = path.read_text().splitlines(keepends=True)
        found[int(path.stem)] = [float(line) for line in lines if line.endswith("\n")]
    return {pid: ends for pid, ends in found.items() if ends}


def resnet18(num_classes: int, channels: int, image_size: int) -> Any:
    """Build torchvision's network for a job of Manta, and start the clock."""
    return _build("resnet18", num_classes, channels, image_size)


def mobilenet_v2(num_classes: int, channels: int, image_size: int) -> Any:
    """Build torchvision's network for a job of Manta, and start the clock."""
    return _build("mobilenet_v2", num_classes, channels, image_size)


def _build(name: str, num_classes: int, channels: int, image_size: int) -> Any:
    from lib.models.registry import find_builder

    start_clock()
    return find_builder(name)(num_classes=num_classes, channels=channels, image_size=image_size)


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    # As if the script had been started itself: what lies beside it comes first.
    sys.path[0] = str(Path(sys.argv[0]).parent)
    start_clock()
    runpy.run_path(sys.argv[0], run_name="__main__")
