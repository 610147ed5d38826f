"""Fine-tuning a head on features that are computed once, against the usual way, for benchmarks/train.py.

measure_head_cached(folder, head, rounds=2, batch_size=64, workers=2, seed=0)     # ratios, absolute figures

Both start from the same weights and are timed from the launch to the end. Manta's time holds packing, an
empty cache of features, and the report. Then both answer the same test pictures, outside of the time.
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import numpy as np
import torch
from child import Child, environment_without
from corpus import write_parts
from frozen import Work
from numpy.typing import NDArray
from pydantic import Field
from report import print_table
from safetensors.torch import save_file

from lib.config.packing import PackConfig, SplitSection
from lib.config.section import Count, Section
from lib.console import say
from lib.data.pack import pack, plan_pack
from lib.models.build import build_model
from lib.models.defaults import default_preprocess
from lib.predict.predictor import Predictor
from lib.runtime import ENVIRONMENT

_TIMEOUT_S = 3600.0
_HERE = Path(__file__).parent


Right = NDArray[np.bool_]
Precision = Literal["fp32", "bf16"]


class HeadSection(Section):
    """Fine-tuning of a head."""

    model: str = Field(default="resnet18", examples=["resnet18", "timm:tf_efficientnet_lite0"])
    """Network; timm:NAME needs timm."""
    weights: str = "none"
    """none: random ones, the same for both; or a .safetensors file with the library's own names."""
    images: Count = 1600
    """Pictures to train on."""
    epochs: Count = 10
    """Passes over them."""
    lr: Annotated[float, Field(gt=0)] = 0.01
    """Peak learning rate of AdamW, the same for both. With less the head is not done after the epochs."""
    test_images: Count = 2000
    """Pictures that accuracy is measured on. A quarter of `images` more choose the best epoch."""
    precisions: Annotated[tuple[Precision, ...], Field(min_length=1)] = ("fp32", "bf16")
    """Arithmetic of Manta, a training each; the usual way has fp32."""


def measure_head_cached(
    folder: Path, head: HeadSection, *, rounds: int, batch_size: int, workers: int, seed: int
) -> tuple[dict[str, object], dict[str, object]]:
    """Train a head the usual way and on features, in turns; raises `ChildError` if one fails."""
    photos = folder / "head"
    for split, images in (("train", head.images), ("val", head.images // 4)):
        write_parts(photos / split, images=images, seed=seed + (split == "val"))
    test = write_parts(folder / "head-test", images=head.test_images, seed=seed + 2)
    weights = _weights(folder, head)
    names = {precision: f"manta_{precision}" for precision in head.precisions}
    found: dict[str, list[tuple[float, Right]]] = {name: [] for name in (*names.values(), "usual")}
    for number in range(rounds):
        out = folder / f"head-{number}"
        for precision, name in names.items():
            say(f"round {number + 1} of {rounds}: a head on features that are kept, {precision}")
            found[name].append(_manta(photos, test, out / name, head, weights, batch_size, precision))
        say(f"round {number + 1} of {rounds}: a head the usual way")
        preprocess = default_preprocess(head.model, weights, channels=3)
        preprocess.pop("channels", None)
        work = Work(
            str(photos), str(test), head.model, weights, preprocess, batch_size, head.epochs, head.lr, workers
        )
        found["usual"].append(_usual(work, out / "usual"))
    usual_s, usual_right = zip(*found["usual"], strict=True)
    ratios: dict[str, object] = {}
    absolute: dict[str, object] = {}
    rows = []
    for name, results in found.items():
        seconds, right = zip(*results, strict=True)
        accuracy = float(np.mean(right))
        absolute[f"head_{name}"] = {"seconds": round(median(seconds), 2), "accuracy": round(accuracy, 4)}
        times = median(u / m for m, u in zip(seconds, usual_s, strict=True))
        points = [100 * each for each in _difference(np.mean(right, axis=0) - np.mean(usual_right, axis=0))]
        rows.append([name, median(seconds), times, accuracy, *points])
        if name != "usual":
            ratios[f"head_cached_speedup_{name.removeprefix('manta_')}"] = round(times, 2)
            ratios[f"head_cached_points_{name.removeprefix('manta_')}"] = [round(each, 2) for each in points]
    columns = [
        "training",
        "seconds",
        "usual takes, times",
        "accuracy",
        "points more than usual",
        "from",
        "to",
    ]
    print_table(
        f"{head.model}, head alone, {head.epochs} epochs of {head.images} pictures, launch to end; accuracy "
        f"on {head.test_images} others",
        columns,
        rows,
    )
    return ratios, absolute


def _difference(more: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean of the differences of the pictures, and its interval of 95 %."""
    middle, margin = float(more.mean()), 1.96 * float(more.std(ddof=1)) / len(more) ** 0.5
    return middle, middle - margin, middle + margin


def _manta(
    photos: Path,
    test: Path,
    out: Path,
    head: HeadSection,
    weights: str,
    batch_size: int,
    precision: Precision,
) -> tuple[float, Right]:
    out.mkdir(parents=True)
    started = time.time()
    config = PackConfig(
        source=f"imagefolder:{photos}", out=str(out / "packed"), split=SplitSection(val=0, test=0)
    )
    pack(config, plan_pack(config), map)
    packing_s = time.time() - started
    command = [
        sys.executable,
        "jobs/finetune.py",
        f"data.root={out / 'packed'}",
        f"model.name={head.model}",
        f"model.weights={weights}",
        "train.freeze=head",
        f"train.epochs={head.epochs}",
        f"train.batch_size={batch_size}",
        f"optim.lr={head.lr}",
        f"train.precision={precision}",
        "augment.policy=none",
        "run.num_workers=0",
        f"run.storage={out}",
        "run.name=run",
    ]
    environment = environment_without(ENVIRONMENT) | {"MANTA_CACHE": str(out / "cache")}
    with Child(command, out, environment) as child:
        seconds = child.wait(_TIMEOUT_S)
    predictor = Predictor(out / "run/bundle")
    # As torchvision's ImageFolder has them, and so the usual way.
    paths = sorted(test.rglob("*.jpg"))
    answers = predictor.predict([path.read_bytes() for path in paths]).argmax(axis=1)
    labels = [predictor.bundle.classes.index(path.parent.name) for path in paths]
    return packing_s + seconds, answers == np.array(labels)


def _usual(work: Work, out: Path) -> tuple[float, Right]:
    command = [sys.executable, str(_HERE / "frozen.py"), json.dumps(asdict(work))]
    with Child(command, out, environment_without(ENVIRONMENT)) as child:
        child.wait(_TIMEOUT_S)
        said = json.loads(child.last_line())
        return said["ended_at"] - child.started_at, np.array(said["right"])


def _weights(folder: Path, head: HeadSection) -> str:
    """Return the file that both start from; random weights are written to one."""
    if head.weights != "none":
        return str(Path(head.weights).absolute())
    torch.manual_seed(0)
    path = folder / "start.safetensors"
    save_file(build_model(head.model, num_classes=1000).state_dict(), path)
    return str(path)
