"""What an evaluation will do: bundles and a dataset that belong together, checked before anything runs.

plan = plan_evaluation(config)
plan.bundle, plan.others, plan.dataset, plan.folder
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lib.config.paths import data_location, input_path, output_path
from lib.config.schema import EvaluateConfig
from lib.data.cache import cache_settings
from lib.data.dataset import Dataset, open_dataset
from lib.data.metadata import check_columns
from lib.errors import UserError
from lib.predict.folder import Folder, read_folder


@dataclass(frozen=True)
class EvaluationPlan:
    """A resolved evaluation."""

    config: EvaluateConfig
    bundle: Folder
    """What the report is about, and the gate."""
    others: tuple[Folder, ...]
    """What it is compared with."""
    dataset: Dataset
    folder: Path

    @property
    def num_samples(self) -> int:
        """Samples of the split."""
        return self.dataset.manifest.splits[self.config.split].num_samples

    @property
    def released(self) -> Path:
        """Where the copy goes that carries the verdict; the folder has the name of the model."""
        return self.folder / "released" / self.bundle.name

    def lines(self) -> list[str]:
        """Describe the job for a person."""
        gate = {name: value for name, value in self.config.gate if value is not None}
        asked = ", ".join(f"{name}={value}" for name, value in gate.items())
        return [
            f"bundle    {_told(self.bundle)}",
            *(f"against   {_told(other)}" for other in self.others),
            f"dataset   {self.dataset.where}: {self.num_samples:,} images of {self.config.split}",
            *([f"gate      {asked}"] if asked else []),
            f"results   {self.folder}",
        ]


def plan_evaluation(config: EvaluateConfig) -> EvaluationPlan:
    """Check that bundles, dataset and split belong together.

    Raises `UserError` if one is missing, the classes differ, or the output folder exists.
    """
    bundle, *others = (read_folder(input_path(path).resolve()) for path in config.bundles)
    for number, other in enumerate(others):
        same = next((each for each in [bundle, *others[:number]] if each.version == other.version), None)
        if same is not None:
            problem = f"{same.path} and {other.path} are the same model"
            raise UserError(problem, "compare models that were trained apart")
    if config.gate.max_regression_vs is not None:
        others = [read_folder(input_path(config.gate.max_regression_vs).resolve())]
    dataset = open_dataset(data_location(config.data.root), cache_settings(config.data))
    splits = dataset.manifest.splits
    if config.split not in splits:
        raise UserError(f"{dataset.where} has no split {config.split!r}", f"it has: {', '.join(splits)}")
    for each in [bundle, *others]:
        if each.classes != dataset.classes:
            raise UserError(*_difference(each, dataset.classes))
    check_columns(config.slices.columns, config.slices.file)
    default = f"runs/evaluations/{bundle.name}-{config.split}-{datetime.now():%Y%m%d-%H%M%S}"
    folder = output_path(config.out or default)
    if folder.exists():
        raise UserError(f"out={config.out} exists: {folder}", "choose another out=, or remove it first")
    return EvaluationPlan(config, bundle, tuple(others), dataset, folder)


def _told(folder: Folder) -> str:
    bundles, cascade = folder.bundles, folder.manifest.cascade
    sizes = {f"{s.channels} x {s.image_size} x {s.image_size}" for s in (b.preprocess for b in bundles)}
    together = f", views {folder.manifest.views}, {'a' if cascade else 'no'} cascade"
    return (
        f"{folder.path}: {folder.arch}, {len(folder.classes)} classes, input "
        f"{' or '.join(sorted(sizes))}{together if len(bundles) > 1 else ''}"
    )


def _difference(folder: Folder, dataset: list[str]) -> tuple[str, str]:
    if sorted(folder.classes) == sorted(dataset):
        problem = f"{folder.path} and the dataset have the same classes in another order"
        return problem, "pack the dataset with the same tool"
    only = [name for name in folder.classes if name not in dataset][:5]
    extra = [name for name in dataset if name not in folder.classes][:5]
    parts = [
        f"only in the {where}: {', '.join(names)}"
        for where, names in (("bundle", only), ("dataset", extra))
        if names
    ]
    return f"{folder.path} and the dataset have different classes", "; ".join(parts)
