"""Measure a bundle or an ensemble on a split of a dataset, in this process or shared by Ray tasks.

    plan = plan_evaluation(config)
    result = evaluate_bundle(plan)      # writes plan.folder

The workers need no collective: each takes its batches and returns its part of the table.
"""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lib.cluster import connect, local_device, place, ray_map
from lib.config.paths import data_location, input_path, output_path
from lib.config.schema import EvaluateConfig
from lib.data.cache import cache_settings
from lib.data.dataset import Dataset, open_dataset
from lib.data.quarantine import QUARANTINE, Entry, Quarantine
from lib.errors import UserError
from lib.files import make_folder, make_partial, write_text
from lib.metrics import Outcomes, per_class, summarise
from lib.predict.engines import Wanted, choose_engine
from lib.predict.ensemble import Ensemble
from lib.predict.folder import Folder, read_folder
from lib.predict.loading import open_loaders
from lib.predict.scoring import score
from lib.report.html import write_report
from lib.report.run import build_report


@dataclass(frozen=True)
class EvaluationPlan:
    """A resolved evaluation."""

    config: EvaluateConfig
    bundle: Folder
    dataset: Dataset
    folder: Path

    @property
    def num_samples(self) -> int:
        """Samples of the split."""
        return self.dataset.manifest.splits[self.config.split].num_samples

    def lines(self) -> list[str]:
        """Describe the job for a person."""
        bundles, cascade = self.bundle.bundles, self.bundle.manifest.cascade
        sizes = {f"{s.channels} x {s.image_size} x {s.image_size}" for s in (b.preprocess for b in bundles)}
        together = f", views {self.bundle.manifest.views}, {'a' if cascade else 'no'} cascade"
        return [
            f"bundle    {self.bundle.path}: {self.bundle.arch}, {len(self.bundle.classes)} classes, input "
            f"{' or '.join(sorted(sizes))}{together if len(bundles) > 1 else ''}",
            f"dataset   {self.dataset.where}: {self.num_samples:,} images of {self.config.split}",
            f"results   {self.folder}",
        ]


def plan_evaluation(config: EvaluateConfig) -> EvaluationPlan:
    """Check that bundle, dataset and split belong together.

    Raises `UserError` if one is missing, the classes differ, or the output folder exists.
    """
    bundle = read_folder(input_path(config.bundle).resolve())
    dataset = open_dataset(data_location(config.data.root), cache_settings(config.data))
    splits = dataset.manifest.splits
    if config.split not in splits:
        raise UserError(f"{dataset.where} has no split {config.split!r}", f"it has: {', '.join(splits)}")
    if bundle.classes != dataset.classes:
        raise UserError(*_difference(bundle.classes, dataset.classes))
    default = f"runs/evaluations/{bundle.name}-{config.split}-{datetime.now():%Y%m%d-%H%M%S}"
    folder = output_path(config.out or default)
    if folder.exists():
        raise UserError(f"out={config.out} exists: {folder}", "choose another out=, or remove it first")
    return EvaluationPlan(config, bundle, dataset, folder)


def evaluate_bundle(plan: EvaluationPlan) -> dict[str, Any]:
    """Evaluate every sample of the split once; write the results, and return the content of `result.json`.

    Raises `UserError` if the output folder cannot be written, before anything is computed.
    """
    make_folder(plan.folder.parent)
    folder = make_partial(plan.folder)
    try:
        quarantine = _quarantine(plan)
        parts = list(_parts(plan))
        for _, _, bad in parts:
            quarantine.merge(bad)
        quarantine.write(folder / QUARANTINE)
        outcomes = Outcomes.concat([outcomes for outcomes, _, _ in parts])
        used = np.sum([counts for _, counts, _ in parts], axis=0)
        result = _write(plan, outcomes, used, folder, len(quarantine))
        folder.rename(plan.folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return result


# Outcomes, how many images were answered by 0, 1, 2 … members, and what was bad.
Part = tuple[Outcomes, NDArray[np.int64], list[Entry]]


def _parts(plan: EvaluationPlan) -> Iterable[Part]:
    run = plan.config.run
    if run.num_workers == 0:
        device, threads = local_device(run.use_gpu), torch.get_num_threads()
        return [_part(0, plan=plan, world_size=1, device=device, threads=threads)]
    connect()
    placement = place(run.num_workers, run.use_gpu)
    workers = placement.workers
    part = partial(
        _part,
        plan=plan,
        world_size=workers,
        device="cuda" if placement.gpu else "cpu",
        threads=max(1, int(placement.cpus)),
    )
    gpus = 1.0 if placement.gpu else 0.0
    return ray_map(part, range(workers), at_a_time=workers, cpus=placement.cpus, gpus=gpus)


def _quarantine(plan: EvaluationPlan) -> Quarantine:
    return Quarantine({plan.config.split: plan.num_samples}, plan.config.data.max_bad_fraction)


def _part(rank: int, *, plan: EvaluationPlan, world_size: int, device: str, threads: int) -> Part:
    """Evaluate the batches of one worker."""
    torch.set_num_threads(threads)
    ensemble = Ensemble(plan.bundle, partial(choose_engine, wanted=Wanted("torch", "fp32", device=device)))
    samples = plan.dataset.samples(plan.config.split)
    quarantine = _quarantine(plan)
    loaders = open_loaders(samples, ensemble.kinds, plan.config.data, threads=threads, quarantine=quarantine)
    outcomes, used = score(
        ensemble,
        loaders,
        num_samples=len(samples),
        batch_size=plan.config.batch_size,
        rank=rank,
        world_size=world_size,
    )
    for loader in loaders.values():
        loader.close()
    samples.close()
    return outcomes, used, quarantine.entries()


def _write(
    plan: EvaluationPlan, outcomes: Outcomes, used: NDArray[np.int64], folder: Path, num_bad: int
) -> dict[str, Any]:
    split, classes = plan.config.split, plan.bundle.classes
    metrics = {split: summarise(outcomes, len(classes))}
    samples = plan.dataset.samples(split)
    report = build_report(
        f"{plan.bundle.name} on {split}",
        classes,
        metrics,
        outcomes,
        samples,
        summary={
            "model": plan.bundle.arch,
            "bundle": f"{plan.bundle.path} (version {plan.bundle.version})",
            "dataset": plan.dataset.where,
        },
        next_steps=[f"python -m serving bundle={plan.bundle.path}"],
    )
    samples.close()
    result: dict[str, Any] = {
        "bundle": str(plan.bundle.path),
        "dataset": {"root": plan.dataset.where, "digest": plan.dataset.manifest.digest},
        "metrics": metrics,
        "bad_samples": num_bad,
        "per_class": {split: per_class(outcomes, classes)},
    }
    if len(plan.bundle.bundles) > 1:
        # The share of images that were answered by 1, 2 … members.
        result["members_used"] = (used[1:] / used.sum()).tolist()
    write_report(folder / "report", report)
    outcomes.save(folder / "outcomes.npz")
    write_text(folder / "result.json", json.dumps(result, indent=1) + "\n")
    return result


def _difference(bundle: list[str], dataset: list[str]) -> tuple[str, str]:
    if sorted(bundle) == sorted(dataset):
        return (
            "bundle and dataset have the same classes in another order",
            "pack the dataset with the same tool",
        )
    only = [name for name in bundle if name not in dataset][:5]
    extra = [name for name in dataset if name not in bundle][:5]
    parts = [
        f"only in the {where}: {', '.join(names)}"
        for where, names in (("bundle", only), ("dataset", extra))
        if names
    ]
    return "bundle and dataset have different classes", "; ".join(parts)
