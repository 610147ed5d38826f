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
from lib.data.cache import cache_settings
from lib.data.dataset import Dataset, open_dataset
from lib.data.quarantine import QUARANTINE
from lib.errors import UserError
from lib.images.augment import ALBUMENTATIONS, check_policy, is_small, train_transform
from lib.images.spec import PreprocessSpec
from lib.models.build import build_pretrained, check_stem, check_weights
from lib.models.bundled import bundle_facts
from lib.models.defaults import default_preprocess
from lib.models.freeze import freeze_table, suggest_freeze
from lib.models.registry import AUX_SMALLEST, check_model_name
from lib.models.sizes import build_skeleton, check_once, choose_stem
from lib.track.sinks import check_libraries
from lib.train.checks import check_dataset
from lib.train.distill import check_teachers
from lib.train.features import FeaturePlan, plan_features
from lib.train.memory import estimate_mb
from lib.train.muon import check_matrices
from lib.train.rates import check_factors, group_lines
from lib.train.recompute import block_paths, check_blocks
from lib.train.sharding import check_parameters, shard_paths
from lib.train.stages import Stage, build_stages, stage_at, stage_lines, stage_spec
from lib.train.techniques import technique_lines

# Where nothing else learns: in ten epochs of 800 photos a head came to 0.92 at 0.002, and to 0.97 at this.
_HEAD_LR = 0.01


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
    counted_as: str | None = None
    """The name that its metrics have, by default that of its folder: trials share one."""

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
    def num_images(self) -> int:
        """Images that an epoch trains on."""
        return self.config.data.train_images or sum(self.counts)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stretches of epochs of one image size, batch size and factor of the learning rate, in order."""
        return build_stages(self.config.train, self.preprocess.image_size, self.num_images)

    def stage(self, epoch: int) -> Stage:
        """Return the stage of an epoch, from 0."""
        return stage_at(self.stages, epoch)

    def spec(self, stage: Stage) -> PreprocessSpec:
        """Return how training sees a picture in a stage; measuring uses `preprocess` throughout."""
        return stage_spec(self.preprocess, stage)

    def lines(self) -> list[str]:
        """Describe the run for a person."""
        config, spec = self.config, self.preprocess
        splits = self.dataset.manifest.splits
        sizes = ", ".join(f"{name} {split.num_samples:,}" for name, split in splits.items())
        skeleton = build_skeleton(config.model.name, **self.arch_kwargs)
        rows = freeze_table(skeleton, config.train.freeze, config.train.epochs)
        workers = config.run.num_workers
        heaviest = max(self.stages, key=lambda stage: stage.batch_size * stage.image_size**2)
        pieces = config.train.accumulate * _fewest(workers)
        images, size = -(-heaviest.batch_size // pieces), heaviest.image_size
        memory = estimate_mb(
            skeleton,
            config.optim.name,
            images=images,
            channels=spec.channels,
            image_size=size,
            has_ema=config.train.ema_decay is not None,
            blocks=block_paths(skeleton) if config.train.checkpoint_activations else (),
            shards=_fewest(workers) if config.train.shard == "full" else 1,
            units=shard_paths(skeleton),
        )
        trained = sum(row.parameters for row in rows if row.trainable)
        total = sum(row.parameters for row in rows)
        lines = [
            f"dataset   {self.dataset.where}: {len(self.dataset.classes)} classes; {sizes}",
            f"model     {config.model.name}, weights {config.model.weights}, input {spec.channels} x "
            f"{spec.image_size} x {spec.image_size}" + ", small stem" * (config.model.stem == "small"),
            f"trainable {trained:,} of {total:,} parameters (train.freeze={config.train.freeze})",
            *(f"          {line}" for line in group_lines(config, skeleton)),
            *_told(self.features),
            *stage_lines(self.stages, spec.image_size),
            f"workers   {_range(workers)}; each reads its share of every batch from {len(self.counts)} shard"
            f"{'s' * (len(self.counts) > 1)}",
            f"memory    about {memory:,.0f} MB per worker for {images} images of {size} x {size} at a time, "
            "besides the process itself",
            *([f"sampling  {config.data.sampling}"] * (config.data.sampling != "uniform")),
            *([f"images    {self.num_images:,} to train on"] * (config.data.train_images is not None)),
            f"optimizer {config.optim.name}, lr {config.optim.lr:g}, {config.optim.schedule}",
            *technique_lines(config.train),
            f"augment   {config.augment.policy}, mix {config.augment.mix}",
            f"run       {self.folder}",
        ]
        return [*lines, *(f"hint      {hint}" for hint in self._hints())]

    def _hints(self) -> list[str]:
        """What is allowed, but worth a second thought."""
        config, num_images = self.config, self.num_images
        name, freeze, size = config.model.name, config.train.freeze, self.preprocess.image_size
        hints = []
        if size < AUX_SMALLEST.get(name, 0):
            hints.append(
                f"{name} has no auxiliary head below {AUX_SMALLEST[name]} px, and trains without one"
            )
        if config.model.weights == "none":
            if freeze != "none":
                hints.append(f"train.freeze={freeze} holds random weights fixed: give model.weights")
            return hints
        suggested = suggest_freeze(num_images)
        if suggested != freeze:
            hints.append(
                f"with {num_images:,} training images, train.freeze={suggested} is the usual choice for "
                "pretrained weights"
            )
        optim = config.optim
        if freeze == "head" and optim.name.startswith("adam") and optim.lr < _HEAD_LR / 2:
            hints.append(
                f"a head alone often needs fewer epochs with optim.lr={_HEAD_LR:g} than {optim.lr:g}"
            )
        return hints


def check_settings(config: FinetuneConfig) -> FinetuneConfig:
    """Check what needs no dataset, and settle the name of the run and the path of the weights.

    Raises `UserError` if the network, its weights, the augmentation or the run folder do not fit.
    """
    is_resumed = config.run.resume is not None
    config = _named(config)
    check_model_name(config.model.name)
    check_weights(config.model.name, config.model.weights)
    check_libraries(config.track.model_dump())
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
    check_dataset(dataset, config)
    channels = dataset.manifest.channels if model.channels == "auto" else model.channels
    spec = _preprocess(config, channels)
    stem = _stem(config, channels, spec.image_size)
    arch_kwargs: dict[str, Any] = {
        "num_classes": len(dataset.classes),
        "channels": channels,
        "image_size": spec.image_size,
        "stem": stem,
    }
    skeleton = build_skeleton(model.name, **arch_kwargs)
    check_once(skeleton, model.name, **arch_kwargs)
    check_stem(model.name, model.weights, stem)
    check_factors(config, skeleton)
    if config.optim.name == "muon":
        check_matrices(skeleton, model.name)
    if config.train.checkpoint_activations:
        check_blocks(skeleton, model.name)
    if config.train.shard == "full":
        check_parameters(skeleton, model.name)
    check_teachers(config.train.teachers, dataset.classes)
    if model.weights not in ("none", "default"):
        # Another network's file is found out here, not by every worker.
        build_pretrained(model.name, **arch_kwargs, weights=model.weights, classes=dataset.classes)
    # What was settled stays so when the run goes on without its weights at hand.
    settled = model.model_copy(update={"image_size": spec.image_size, "stem": stem})
    config = config.model_copy(update={"model": settled})
    features = plan_features(config, dataset, arch_kwargs)
    plan = RunPlan(config, _folder(config), dataset, arch_kwargs, spec, features)
    _check_stages(plan)
    return plan


def _check_stages(plan: RunPlan) -> None:
    """Try the network, and a policy from outside, at the size of every stage."""
    augment, final, name = plan.config.augment, plan.preprocess.image_size, plan.config.model.name
    for stage in plan.stages:
        try:
            if stage.image_size != final:
                skeleton = build_skeleton(name, **plan.arch_kwargs)
                check_once(skeleton, name, **plan.arch_kwargs | {"image_size": stage.image_size})
        except UserError as error:
            hint = f"this network is built for model.image_size={final}; choose sizes that it takes as well"
            raise UserError(f"train.resize: {error.problem}", hint) from None
        check_policy(augment.policy, plan.spec(stage))
    if is_small(final) and augment.min_crop != type(augment).model_fields["min_crop"].default:
        problem = f"augment.min_crop={augment.min_crop:g} has no effect at model.image_size={final}"
        raise UserError(problem, "leave it out: images of up to 64 pixels are shifted, not cropped")


def _stem(config: FinetuneConfig, channels: int, image_size: int) -> str:
    model = config.model
    if model.stem != "auto":
        return model.stem
    facts = bundle_facts(model.weights)
    if facts is not None:
        return facts.stem
    if model.weights != "none":
        return "standard"
    return choose_stem(model.name, channels=channels, image_size=image_size)


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
    teachers = [str(input_path(path)) for path in config.train.teachers]
    policy = config.augment.policy
    if policy.startswith(ALBUMENTATIONS):
        policy = f"{ALBUMENTATIONS}{input_path(policy.removeprefix(ALBUMENTATIONS))}"
    return config.model_copy(
        update={
            "augment": config.augment.model_copy(update={"policy": policy}),
            "run": run.model_copy(update={"name": name}),
            "model": model.model_copy(update={"weights": weights}),
            "train": config.train.model_copy(update={"teacher": teachers or None}),
        }
    )


def _folder(config: FinetuneConfig) -> Path:
    assert config.run.name is not None
    return output_path(config.run.storage) / config.run.name


def _check_folder(folder: Path, *, is_resumed: bool) -> None:
    if folder.exists() and not is_resumed:
        hint = f"go on with it: run.resume={folder.name}; or choose another run.name"
        raise UserError(f"the run {folder.name} exists: {folder}", hint)


def _fewest(workers: int | tuple[int, int] | str) -> int:
    """Return the least number of workers that may share a batch."""
    if isinstance(workers, tuple):
        return workers[0]
    return max(1, workers) if isinstance(workers, int) else 1


def _range(workers: int | tuple[int, int] | str) -> str:
    return "{} to {}".format(*workers) if isinstance(workers, tuple) else str(workers)


def _told(features: FeaturePlan | str | None) -> list[str]:
    if isinstance(features, FeaturePlan):
        return [f"features  {features.line()}"]
    return [f"features  computed in every step: {features}"] if features else []
