"""Fine-tuning a head on features that are computed once, against the usual way, for benchmarks/train.py.

measure_head_cached(folder, head, rounds=2, batch_size=64, workers=2, seed=0)     # ratios, absolute figures

Both start from the same weights and are timed from the launch to the end of the process. Manta's time holds
packing, an empty cache of features, and the report.
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import torch
from child import Child, environment_without
from corpus import write_parts
from frozen import Work
from pydantic import Field
from report import print_table
from safetensors.torch import save_file

from lib.config.packing import PackConfig, SplitSection
from lib.config.section import Count, Section
from lib.console import say
from lib.data.pack import pack, plan_pack
from lib.models.build import build_model
from lib.models.defaults import default_preprocess
from lib.runtime import ENVIRONMENT

_LR = 2e-3
_TIMEOUT_S = 3600.0
_HERE = Path(__file__).parent


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
    precisions: Annotated[tuple[Precision, ...], Field(min_length=1)] = ("fp32", "bf16")
    """Arithmetic of Manta, a training each; the usual way has fp32."""


def measure_head_cached(
    folder: Path, head: HeadSection, *, rounds: int, batch_size: int, workers: int, seed: int
) -> tuple[dict[str, float], dict[str, object]]:
    """Train a head the usual way and on features, in turns; raises `ChildError` if one fails."""
    photos = folder / "head"
    for split, images in (("train", head.images), ("val", head.images // 4)):
        write_parts(photos / split, images=images, seed=seed + (split == "val"))
    weights = _weights(folder, head)
    names = {precision: f"manta_{precision}" for precision in head.precisions}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (*names.values(), "usual")}
    for number in range(rounds):
        out = folder / f"head-{number}"
        for precision, name in names.items():
            say(f"round {number + 1} of {rounds}: a head on features that are kept, {precision}")
            found[name].append(_manta(photos, out / name, head, weights, batch_size, precision))
        say(f"round {number + 1} of {rounds}: a head the usual way")
        preprocess = default_preprocess(head.model, weights, channels=3)
        preprocess.pop("channels", None)
        work = Work(str(photos), head.model, weights, preprocess, batch_size, head.epochs, _LR, workers)
        found["usual"].append(_usual(work, out / "usual"))
    seconds = {name: median(row[0] for row in rows) for name, rows in found.items()}
    accuracy = {name: median(row[1] for row in rows) for name, rows in found.items()}
    print_table(
        f"{head.model}, head alone, {head.epochs} epochs of {head.images} pictures, launch to end",
        ["training", "seconds", "accuracy"],
        [[name, seconds[name], accuracy[name]] for name in found],
    )
    ratios = {
        f"head_cached_speedup_{precision}": round(
            median(u[0] / m[0] for m, u in zip(found[name], found["usual"], strict=True)), 2
        )
        for precision, name in names.items()
    }
    absolute = {
        f"head_{name}": {"seconds": round(seconds[name], 2), "accuracy": round(accuracy[name], 4)}
        for name in found
    }
    return ratios, dict(absolute)


def _manta(
    photos: Path, out: Path, head: HeadSection, weights: str, batch_size: int, precision: Precision
) -> tuple[float, float]:
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
        f"optim.lr={_LR}",
        f"train.precision={precision}",
        "augment.policy=none",
        "run.num_workers=0",
        f"run.storage={out}",
        "run.name=run",
    ]
    environment = environment_without(ENVIRONMENT) | {"MANTA_CACHE": str(out / "cache")}
    with Child(command, out, environment) as child:
        seconds = child.wait(_TIMEOUT_S)
    result = json.loads((out / "run/result.json").read_text())
    return packing_s + seconds, result["metrics"]["val"]["accuracy"]


def _usual(work: Work, out: Path) -> tuple[float, float]:
    command = [sys.executable, str(_HERE / "frozen.py"), json.dumps(asdict(work))]
    with Child(command, out, environment_without(ENVIRONMENT)) as child:
        seconds = child.wait(_TIMEOUT_S)
        return seconds, json.loads(child.last_line())["accuracy"]


def _weights(folder: Path, head: HeadSection) -> str:
    """Return the file that both start from; random weights are written to one."""
    if head.weights != "none":
        return str(Path(head.weights).absolute())
    torch.manual_seed(0)
    path = folder / "start.safetensors"
    save_file(build_model(head.model, num_classes=1000).state_dict(), path)
    return str(path)
