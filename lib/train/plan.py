"""What a run will do, settled before anything starts: checked, printable, and sent to every worker.

plan = plan_run(config)
for line in plan.lines(): say(line)
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lib.config.paths import data_location, input_path, output_path
from lib.config.schema import FinetuneConfig
from lib.config.wording import did_you_mean
from lib.data.cache import cache_settings
from lib.data.dataset import Dataset, open_dataset
from lib.data.order import num_steps
from lib.data.quarantine import QUARANTINE
from lib.errors import UserError
from lib.images.augment import train_transform
from lib.images.spec import PreprocessSpec
from lib.models.build import build_pretrained, check_weights
from lib.models.defaults import default_preprocess
from lib.models.freeze import freeze_table, suggest_freeze
from lib.models.registry import check_model_name
from lib.models.sizes import build_skeleton, check_image_size
from lib.train.features import FeaturePlan, plan_features
from lib.train.memory import estimate_mb


@dataclass(frozen=True)
class RunPlan:
    """A resolved run."""

    config: FinetuneConfig
    folder: Path
    dataset: Dataset
    arch_kwargs: dict[str, Any]
    preprocess: PreprocessSpec
    features: FeaturePlan | str | None = None
    """What is computed once of the network, or why nothing is; None where nothing is frozen."""

    @property
    def state_folder(self) -> Path:
        """Where resumable state is kept."""
        return self.folder / "state"

    @property
    def quarantine_file(self) -> Path:
        """Where samples that cannot be used are listed."""
        return self.folder / QUARANTINE

    @property
    def counts(self) -> list[int]:
        """Samples of each training shard."""
        return self.dataset.manifest.splits["train"].counts

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return num_steps(self.dataset.manifest.splits["train"].num_samples, self.config.train.batch_size)

    def lines(self) -> list[str]:
        """Describe the run for a person."""
        config, spec = self.config, self.preprocess
        splits = self.dataset.manifest.splits
        sizes = ", ".join(f"{name} {split.num_samples:,}" for name, split in splits.items())
        skeleton = build_skeleton(config.model.name, **self.arch_kwargs)
        rows = freeze_table(skeleton, config.train.freeze, config.train.epochs)
        workers = config.run.num_workers
        share = -(-config.train.batch_size // max(1, workers)) if isinstance(workers, int) else None
        images = share or config.train.batch_size
        memory = estimate_mb(
            skeleton, config.optim.name, images=images, channels=spec.channels, image_size=spec.image_size
        )
        trained = sum(row.parameters for row in rows if row.trainable)
        total = sum(row.parameters for row in rows)
        lines = [
            f"dataset   {self.dataset.where}: {len(self.dataset.classes)} classes; {sizes}",
            f"model     {config.model.name}, weights {config.model.weights}, input {spec.channels} x "
            f"{spec.image_size} x {spec.image_size}",
            f"trainable {trained:,} of {total:,} parameters (train.freeze={config.train.freeze})",
            *(f"          {row.name:<20} {row.parameters:>12,}  {_learns(row.first_epoch)}" for row in rows),
            *_told(self.features),
            f"steps     {config.train.epochs} epochs of {self.steps} steps, up to "
            f"{config.train.batch_size} images each",
            f"workers   {workers}; each reads its share of every batch from {len(self.counts)} shard"
            f"{'s' * (len(self.counts) > 1)}",
            f"memory    about {memory:,.0f} MB per worker for {images} images a step, besides the "
            "process itself",
            *([f"sampling  {config.data.sampling}"] * (config.data.sampling != "uniform")),
            f"optimizer {config.optim.name}, lr {config.optim.lr:g}, {config.optim.schedule}",
            f"augment   {config.augment.policy}, mix {config.augment.mix}",
            f"run       {self.folder}",
        ]
        pretrained = config.model.weights != "none"
        suggested = suggest_freeze(splits["train"].num_samples)
        if pretrained and suggested != config.train.freeze:
            lines.append(
                f"hint      with {splits['train'].num_samples:,} training images, "
                f"train.freeze={suggested} is the usual choice for pretrained weights"
            )
        return lines


def check_settings(config: FinetuneConfig) -> FinetuneConfig:
    """Check what needs no dataset, and settle the name of the run and the path of the weights.

    Raises `UserError` if the network, its weights, the augmentation or the run folder do not fit.
    """
    is_resumed = config.run.resume is not None
    config = _named(config)
    check_model_name(config.model.name)
    check_weights(config.model.name, config.model.weights)
    train_transform(config.augment.policy, PreprocessSpec(image_size=32, resize_size=32))
    _check_folder(_folder(config), is_resumed=is_resumed)
    return config


def plan_run(config: FinetuneConfig) -> RunPlan:
    """Check a configuration against the dataset and the network.

    Raises `UserError` if the dataset, the network, its weights, or the run folder do not fit.
    """
    config = check_settings(config)
    model = config.model
    dataset = open_dataset(data_location(config.data.root), cache_settings(config.data))
    _check_dataset(dataset, config)
    channels = dataset.manifest.channels if model.channels == "auto" else model.channels
    spec = _preprocess(config, channels)
    arch_kwargs = {"num_classes": len(dataset.classes), "channels": channels, "image_size": spec.image_size}
    check_image_size(build_skeleton(model.name, **arch_kwargs), model.name, **arch_kwargs)
    if model.weights not in ("none", "default"):
        # Another network's file is found out here, not by every worker.
        build_pretrained(model.name, **arch_kwargs, weights=model.weights)
    features = plan_features(config, dataset, arch_kwargs)
    return RunPlan(config, _folder(config), dataset, arch_kwargs, spec, features)


def _preprocess(config: FinetuneConfig, channels: int) -> PreprocessSpec:
    values = default_preprocess(config.model.name, config.model.weights, channels=channels)
    size = config.model.image_size or values["image_size"]
    # Keep the share of the picture that the network's own crop shows.
    resize = round(size * values["resize_size"] / values["image_size"])
    return PreprocessSpec(**values | {"image_size": size, "resize_size": resize, "channels": channels})


def _named(config: FinetuneConfig) -> FinetuneConfig:
    """Settle the name of the run and the place of its files: workers may run in another folder."""
    model, run = config.model, config.run
    kind = model.name.replace(":", "-").replace("/", "-")
    name = run.resume or run.name or f"{kind}-{datetime.now():%Y%m%d-%H%M%S}"
    weights = model.weights if model.weights in ("none", "default") else str(input_path(model.weights))
    return config.model_copy(
        update={
            "run": run.model_copy(update={"name": name}),
            "model": model.model_copy(update={"weights": weights}),
        }
    )


def _folder(config: FinetuneConfig) -> Path:
    assert config.run.name is not None
    return output_path(config.run.storage) / config.run.name


def _check_folder(folder: Path, *, is_resumed: bool) -> None:
    if folder.exists() and not is_resumed:
        hint = f"go on with it: run.resume={folder.name}; or choose another run.name"
        raise UserError(f"the run {folder.name} exists: {folder}", hint)


def _check_dataset(dataset: Dataset, config: FinetuneConfig) -> None:
    splits = dataset.manifest.splits
    if "train" not in splits:
        raise UserError(f"{dataset.where} has no split 'train'", f"it has: {', '.join(splits)}")
    unknown = [name for name in config.data.class_weights if name not in dataset.classes]
    if unknown:
        lines = [
            f"data.class_weights.{name}: no such class{did_you_mean(name, dataset.classes)}"
            for name in unknown
        ]
        shown = ", ".join(dataset.classes[:20]) + (", …" if len(dataset.classes) > 20 else "")
        raise UserError("\n".join(lines), f"classes of {dataset.where}: {shown}")
    workers = config.run.num_workers
    samples = splits["train"].num_samples
    if isinstance(workers, int) and samples < workers:
        hint = f"set run.num_workers={samples} or less"
        raise UserError(f"{samples} training images are fewer than run.num_workers={workers}", hint)
    if config.optim.schedule == "plateau" and "val" not in splits:
        raise UserError(
            f"optim.schedule=plateau follows the validation loss; {dataset.where} has no val split"
        )
    if samples == 0:
        raise UserError(f"{dataset.where} has no training images", "pack more images")


def _told(features: FeaturePlan | str | None) -> list[str]:
    if isinstance(features, FeaturePlan):
        return [f"features  {features.line()}"]
    return [f"features  computed in every step: {features}"] if features else []


def _learns(first_epoch: int | None) -> str:
    if first_epoch is None:
        return "frozen"
    return "trained" if first_epoch == 0 else f"trained from epoch {first_epoch + 1}"
