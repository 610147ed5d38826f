"""What an ensemble will be made of: bundles and a dataset that belong together, checked before anything runs.

plan = plan_ensemble(config)
plan.bundles, plan.dataset, plan.folder
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lib.bundle import Bundle, read_bundle
from lib.config.ensembles import EnsembleConfig
from lib.config.paths import data_location, input_path, output_path
from lib.data.cache import cache_settings
from lib.data.dataset import Dataset, open_dataset
from lib.errors import UserError
from lib.predict.cascade import least_margin


@dataclass(frozen=True)
class EnsemblePlan:
    """Members and a dataset that belong together."""

    config: EnsembleConfig
    bundles: tuple[Bundle, ...]
    dataset: Dataset
    folder: Path

    @property
    def num_samples(self) -> int:
        """Images of the split."""
        return self.dataset.manifest.splits[self.config.split].num_samples

    def lines(self) -> list[str]:
        """Describe the job for a person."""
        margin = self.config.cascade.max_accuracy_drop
        cascade = "none: every member is always asked"
        if margin is not None:
            cascade = f"at most {100 * margin:g} points of accuracy below all members"
        half = self.num_samples // 2
        views, split = ", ".join(self.config.view_sets), self.config.split
        return [
            *(f"member    {bundle.path}: {bundle.arch}, {_input(bundle)}" for bundle in self.bundles),
            f"together  {self.config.combine} of {len(self.bundles)}, views {views}",
            f"cascade   {cascade}",
            f"dataset   {self.dataset.where}: {split}, {self.num_samples - half:,} images to fit to, "
            f"{half:,} to measure",
            f"ensemble  {self.folder}",
        ]


def plan_ensemble(config: EnsembleConfig) -> EnsemblePlan:
    """Check that members and dataset belong together.

    Raises `UserError` if a member is missing, damaged or there twice, classes differ, the split is too small
    for the cascade, or the output folder exists.
    """
    bundles = tuple(read_bundle(input_path(member).resolve()) for member in config.members)
    for number, bundle in enumerate(bundles):
        same = next((each for each in bundles[:number] if each.version == bundle.version), None)
        if same is not None:
            problem = f"members: {same.path} and {bundle.path} are the same bundle"
            raise UserError(problem, "give networks that were trained apart")
    dataset = open_dataset(data_location(config.data.root), cache_settings(config.data))
    splits = dataset.manifest.splits
    if config.split not in splits:
        raise UserError(f"{dataset.where} has no split {config.split!r}", f"it has: {', '.join(splits)}")
    for bundle in bundles:
        if sorted(bundle.classes) != sorted(dataset.classes):
            raise UserError(*_difference(bundle, dataset.classes))
    _check_size(config, splits[config.split].num_samples)
    folder = output_path(config.out or f"runs/ensembles/{datetime.now():%Y%m%d-%H%M%S}")
    if folder.exists():
        raise UserError(f"out={config.out} exists: {folder}", "choose another out=, or remove it first")
    return EnsemblePlan(config, bundles, dataset, folder)


def _check_size(config: EnsembleConfig, num_samples: int) -> None:
    """Raise `UserError` if half of the split cannot show that so little is lost."""
    margin, half = config.cascade.max_accuracy_drop, num_samples // 2
    least = least_margin(half) if half else 1.0
    if margin is None or margin > least:
        return
    raise UserError(
        f"split {config.split} has {num_samples:,} images, too few for a cascade: the {half:,} to fit it to "
        f"cannot show that less than {100 * least:.2g} points are lost, and "
        f"cascade.max_accuracy_drop={margin:g} allows less",
        f"raise it to {1.5 * least:.2g} or more, write cascade.max_accuracy_drop=null, or pack with a larger "
        "split.val",
    )


def _difference(bundle: Bundle, classes: Sequence[str]) -> tuple[str, str]:
    only = {
        "member": [name for name in bundle.classes if name not in classes],
        "dataset": [name for name in classes if name not in bundle.classes],
    }
    told = [f"only in the {where}: {', '.join(names[:5])}" for where, names in only.items() if names]
    return f"{bundle.path} and the dataset have different classes", "; ".join(told)


def _input(bundle: Bundle) -> str:
    spec = bundle.preprocess
    return f"input {spec.channels} x {spec.image_size} x {spec.image_size}"
