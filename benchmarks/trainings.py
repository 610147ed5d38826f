"""The trainings that `benchmarks/train.py` compares: what is typed to start each of them.

    task = Task(folder, model="resnet18", image_size=224, batch_size=32, workers=2, timm_dir=None)
    TRAININGS["plain"](task, out)              # ["python", "-m", "torch.distributed.run", ...]

The task's folder holds photos/train, photos/val, and photos/train packed. Loops that no script comes with
are in loops.py.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from corpus import CLASSES

EPOCHS = 2
_HERE = Path(__file__).parent
_TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1")
# What timm calls the networks of torchvision.
_TIMM_NAMES = {"resnet18": "resnet18", "mobilenet_v2": "mobilenetv2_100"}


@dataclass(frozen=True)
class Task:
    """What every training has to do."""

    folder: Path
    model: str
    image_size: int
    batch_size: int
    workers: int
    """Processes that load, where a peer has them."""
    timm_dir: str | None


def manta(task: Task, out: Path, *words: str) -> list[str]:
    """Manta's own job; speed is left to its defaults."""
    return [
        sys.executable,
        "jobs/finetune.py",
        f"data.root={task.folder / 'packed'}",
        f"model.name=benchmarks.clock:{task.model}",
        f"model.image_size={task.image_size}",
        f"train.epochs={EPOCHS}",
        f"train.batch_size={task.batch_size}",
        "optim.name=sgd",
        "optim.lr=0.01",
        "optim.weight_decay=1e-4",
        "optim.schedule=constant",
        "augment.min_crop=0.08",
        f"run.storage={out}",
        "run.name=run",
        *words,
    ]


def timm(task: Task, out: Path) -> list[str]:
    """timm's train.py with its defaults, and the augmentation of the others."""
    assert task.timm_dir is not None
    words = {
        "data-dir": task.folder / "photos",
        "val-split": "val",
        "model": _TIMM_NAMES[task.model],
        "num-classes": CLASSES,
        "img-size": task.image_size,
        "batch-size": task.batch_size,
        "epochs": EPOCHS,
        "workers": task.workers,
        "opt": "sgd",
        "lr": 0.01,
        "warmup-epochs": 0,
        "color-jitter": 0,
        "smoothing": 0,
        "train-interpolation": "bilinear",
        "device": "cuda" if _has_gpu() else "cpu",
        "output": out / "timm",
    }
    options = [word for key, value in words.items() for word in (f"--{key}", str(value))]
    return [sys.executable, str(_HERE / "clock.py"), str(_script(task.timm_dir)), *options]


def loop(name: str, launcher: tuple[str, ...], task: Task, out: Path) -> list[str]:
    """One of loops.py."""
    work = {
        "data": str(task.folder / "photos/train"),
        "out": str(out),
        "model": task.model,
        "image_size": task.image_size,
        "batch_size": task.batch_size,
        "epochs": EPOCHS,
        "workers": task.workers,
    }
    return [sys.executable, *launcher, str(_HERE / "loops.py"), name, json.dumps(work)]


def why_missing(name: str, task: Task) -> str | None:
    """Return what to do about a peer that is not here, or None if it is."""
    if name == "timm" and task.timm_dir is None:
        return "the wheel has no train.py; give peers.timm_dir=FOLDER, a checkout of timm"
    if name == "timm" and task.timm_dir is not None and not _script(task.timm_dir).is_file():
        return f"peers.timm_dir: there is no {_script(task.timm_dir)}"
    if name == "lightning" and find_spec("lightning") is None:
        return "pip install 'manta[bench]'"
    return None


def _script(timm_dir: str) -> Path:
    return Path(timm_dir).absolute() / "train.py"


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


# In turns in this order: those of a ratio stand side by side.
TRAININGS: dict[str, Callable[[Task, Path], list[str]]] = {
    "manta_in_process": lambda task, out: manta(task, out, "run.num_workers=0"),
    "manta": lambda task, out: manta(task, out, "run.num_workers=1"),
    "manta_bf16": lambda task, out: manta(task, out, "run.num_workers=0", "train.precision=bf16"),
    "plain": partial(loop, "plain", _TORCHRUN),
    "timm": timm,
    "reference": partial(loop, "reference", _TORCHRUN),
    "lightning": partial(loop, "lightning", ()),
    "ray_example": partial(loop, "ray_example", ()),
}
