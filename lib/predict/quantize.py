"""Add an int8 network to a bundle, if it is as accurate as the one that is there.

    plan = plan_quantize(config)
    result = quantize(plan, say)          # writes plan.folder/bundle; GateError if it loses too much

Ranges are taken from one part of the split, and accuracy is measured on the rest, for both networks on the
same images.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from lib.bundle import Bundle, Int8Facts, extend_bundle, read_bundle
from lib.config.paths import data_location, input_path, output_path
from lib.config.quantizing import QuantizeConfig
from lib.data.cache import cache_settings
from lib.data.dataset import Dataset, open_dataset
from lib.data.loader import Loader
from lib.data.order import Ids
from lib.data.quarantine import Quarantine
from lib.errors import GateError, UserError
from lib.files import write_text
from lib.images.augment import train_transform
from lib.images.preprocess import prepare
from lib.predict.engines import TORCH, Forward, build_engine
from lib.predict.engines_openvino import run_in_openvino
from lib.predict.int8 import check_nncf, int8_model, save_model

FILE = "int8/model.xml"
# Of a normal distribution, for an interval of 95 %.
_Z = 1.96


@dataclass(frozen=True)
class QuantizePlan:
    """A resolved job: which images it calibrates with, and which it measures on."""

    config: QuantizeConfig
    bundle: Bundle
    dataset: Dataset
    folder: Path
    calibration: Ids
    measured: Ids

    def lines(self) -> list[str]:
        """Describe the job for a person."""
        return [
            f"bundle    {self.bundle.path}: {self.bundle.arch}, {len(self.bundle.classes)} classes",
            f"dataset   {self.dataset.where}: {len(self.calibration):,} images of {self.config.split} for "
            f"the ranges, {len(self.measured):,} to measure on",
            f"gate      at most {self.config.max_accuracy_drop:g} of accuracy may be lost",
            f"results   {self.folder}",
        ]


@dataclass(frozen=True)
class _Compared:
    accuracy: float
    fp32_accuracy: float
    agreement: float
    drop_interval: tuple[float, float]


def plan_quantize(config: QuantizeConfig) -> QuantizePlan:
    """Check that bundle, dataset and split belong together.

    Raises `UserError` if one is missing, the classes differ, the split is too small, or the output exists.
    """
    check_nncf()
    bundle = read_bundle(input_path(config.bundle).resolve())
    if bundle.manifest.int8 is not None:
        raise UserError(f"{bundle.path} has an int8 network already", "start from the bundle of the run")
    dataset = open_dataset(data_location(config.data.root), cache_settings(config.data))
    splits = dataset.manifest.splits
    if config.split not in splits:
        raise UserError(f"{dataset.where} has no split {config.split!r}", f"it has: {', '.join(splits)}")
    if bundle.classes != dataset.classes:
        problem = f"{bundle.path} and {dataset.where} have different classes, or another order"
        raise UserError(problem, "give the dataset that the bundle was trained on")
    count = splits[config.split].num_samples
    if count < 3:
        raise UserError(f"split={config.split} has {count} images; at least 3 are needed", "pack more")
    run = bundle.path.parent if bundle.path.name == "bundle" else bundle.path
    folder = output_path(config.out) if config.out else run.with_name(f"{run.name}-int8")
    if folder.exists():
        raise UserError(f"{folder} exists", "choose another out=, or remove it first")
    ids = np.random.default_rng(0).permutation(count)
    calibration = min(config.calibration_images, count // 3)
    return QuantizePlan(
        config, bundle, dataset, folder, np.sort(ids[:calibration]), np.sort(ids[calibration:])
    )


def quantize(plan: QuantizePlan, tell: Callable[[str], object]) -> dict[str, Any]:
    """Make the int8 network, measure both, write the new bundle; return the content of `result.json`.

    Raises `GateError` if int8 loses too much accuracy; nothing is written then.
    """
    bundle, config = plan.bundle, plan.config
    threads = torch.get_num_threads()
    tell(f"taking ranges from {len(plan.calibration):,} images")
    pixels = torch.cat([pixels for pixels, _ in _batches(plan, plan.calibration)])
    model = int8_model(bundle, pixels)
    int8 = run_in_openvino(model, bundle.preprocess, threads)
    tell(f"measuring both on {len(plan.measured):,} images")
    fp32 = build_engine(bundle, ("torch", "fp32"), TORCH)
    compared = _compare(plan, fp32, int8)
    drop, (low, high) = compared.fp32_accuracy - compared.accuracy, compared.drop_interval
    told = (
        f"accuracy {compared.accuracy:.4f} in int8, {compared.fp32_accuracy:.4f} in fp32: a loss of "
        f"{drop:.4f} (95% interval {low:.4f} to {high:.4f}); they agree on {compared.agreement:.2%}"
    )
    tell(told)
    if drop > config.max_accuracy_drop:
        hint = "serve it in fp32, or allow more with max_accuracy_drop=…"
        raise GateError(f"int8 loses {drop:.4f} of accuracy; {config.max_accuracy_drop:g} is allowed", hint)

    golden = bundle.golden()
    logits = int8(prepare(golden.data, bundle.preprocess)[None]) / bundle.manifest.temperature
    facts = Int8Facts(
        file=FILE,
        dataset={"digest": plan.dataset.manifest.digest},
        split=config.split,
        calibration_images=len(plan.calibration),
        num_samples=len(plan.measured),
        accuracy=compared.accuracy,
        fp32_accuracy=compared.fp32_accuracy,
        agreement=compared.agreement,
        max_accuracy_drop=config.max_accuracy_drop,
        golden=logits.softmax(1)[0].tolist(),
    )

    def extend(folder: Path) -> dict[str, BaseModel]:
        (folder / FILE).parent.mkdir()
        save_model(model, str(folder / FILE))
        with (folder / "README.md").open("a", encoding="utf-8") as card:
            card.write(f"\n## Int8\n\nOn {len(plan.measured):,} images of {config.split}: {told}.\n")
        return {"int8": facts}

    made = extend_bundle(bundle, plan.folder / "bundle", extend)
    result = {
        "bundle": str(made.path),
        "int8": facts.model_dump(exclude={"golden"}) | {"drop": drop, "drop_interval": [low, high]},
    }
    write_text(plan.folder / "result.json", json.dumps(result, indent=1) + "\n")
    return result


def _compare(plan: QuantizePlan, fp32: Forward, int8: Forward) -> _Compared:
    """Ask both about every image that is measured on."""
    rows = [
        torch.stack([fp32(pixels).argmax(1), int8(pixels).argmax(1), labels])
        for pixels, labels in _batches(plan, plan.measured)
    ]
    one, other, labels = torch.cat(rows, dim=1).numpy()
    lost = (one == labels).astype(float) - (other == labels)
    # Most images are answered alike, so the loss is known much better than either accuracy.
    half = _Z * sqrt(lost.var() / len(lost))
    return _Compared(
        accuracy=float((other == labels).mean()),
        fp32_accuracy=float((one == labels).mean()),
        agreement=float((one == other).mean()),
        drop_interval=(float(lost.mean() - half), float(lost.mean() + half)),
    )


def _batches(plan: QuantizePlan, ids: Ids) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pixels uint8 [b, c, h, w] and labels int64 [b] of these images."""
    spec, data, split = plan.bundle.preprocess, plan.config.data, plan.config.split
    samples = plan.dataset.samples(split)
    loader = Loader(
        samples,
        train_transform("none", spec, data.max_pixels),
        (spec.channels, spec.image_size, spec.image_size),
        threads=data.threads or torch.get_num_threads(),
        quarantine=Quarantine({split: len(samples)}, data.max_bad_fraction),
        prefetch_mb=data.prefetch_mb,
    )
    size = plan.config.batch_size
    parts = (ids[first : first + size] for first in range(0, len(ids), size))
    try:
        for batch in loader.batches((part, [0] * len(part)) for part in parts):
            # The loader hands its memory round.
            yield batch.pixels.clone(), batch.labels
    finally:
        loader.close()
        samples.close()
