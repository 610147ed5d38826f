"""The features of a run, as one worker gets them: batches in the order in which it would get pictures.

    features = open_features(plan, model, world, load, say)     # None: the run goes without
    for batch in features.training(epoch, order): …             # batch.pixels are features [b, …]
    logits = features.rest_of(model)(batch.pixels)

Which samples make a batch, their labels, and what takes the place of a bad one is as with pictures.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lib.data.dataset import Samples
from lib.data.feature_store import FeatureStore, features_folder
from lib.data.feature_table import FeatureTable
from lib.data.loader import REPLACEMENTS, Batch, Loader, Plan
from lib.data.order import Ids, sample_seeds
from lib.errors import MantaError, RunError
from lib.images.augment import ALBUMENTATIONS
from lib.models.cut import Parts, agrees, cut_network, folded
from lib.models.freeze import apply_freeze, set_train_mode
from lib.train.extract import Extractor, Form, Stale, fill
from lib.train.features import FeaturePlan, weights_digest
from lib.train.plan import RunPlan
from lib.train.world import World

# A loader of pictures of a split: one of the augmented views, or as they are measured.
Load = Callable[[Samples, int | None], Loader]
Say = Callable[[str], None]

# How far the two parts may be from the whole network; a GPU multiplies with ten-bit mantissas.
_DIFFERENCE = {"cpu": 1e-3, "cuda": 1e-2}


class FeatureLoader:
    """Batches of features of one split, with the samples and labels that a loader of pictures gives.

    A sample without features is bad: the next one by id that has some takes its place (`replace=True`, for
    training), or it is left out.
    """

    def __init__(
        self, samples: Samples, table: FeatureTable, form: Form, *, replace: bool, pin_memory: bool = False
    ) -> None:
        self._samples, self._table, self._form = samples, table, form
        self._replace, self._pin = replace, pin_memory

    def batches(self, plan: Plan) -> Iterator[Batch]:
        """Yield a batch for each (ids, seeds) of the plan, in its order; features depend on no seed.

        Raises `RunError` if no sample can take the place of a bad one.
        """
        for planned, _ in plan:
            there = self._table.is_there(planned)
            ids = planned.copy() if self._replace else planned[there]
            if self._replace and not there.all():
                ids[~there] = [self._instead_of(int(bad)) for bad in planned[~there]]
            features = self._form.take(self._table, ids)
            labels = torch.from_numpy(self._samples.rows(ids).label.astype(np.int64))
            if self._pin:
                features, labels = features.pin_memory(), labels.pin_memory()
            yield Batch(features, labels, ids)

    def _instead_of(self, bad: int) -> int:
        total = len(self._table)
        near = np.arange(bad + 1, bad + 1 + min(REPLACEMENTS, total - 1)) % total
        usable = near[self._table.is_there(near)]
        if not len(usable):
            key = self._samples.keys([bad])[0]
            raise RunError(f"no sample after {key} of split {self._samples.name} can be used", "pack again")
        return int(usable[0])


@dataclass
class _Set:
    """The features of a split, or of one view of it."""

    samples: Samples
    view: int | None
    """Number of the augmented view; None for the picture as it is measured."""
    about: dict[str, Any]
    extractor: Extractor
    table: FeatureTable
    is_filled: bool = False

    @property
    def title(self) -> str:
        """What it is, for a message."""
        return f"features of {self.samples.name}" + (
            f", view {self.view + 1}" if self.view is not None else ""
        )


class Features:
    """The tables of a run, filled when they are first needed, and the part of the network that learns."""

    def __init__(
        self, plan: RunPlan, model: nn.Module, world: World, load: Load, say: Say, subset: Ids | None = None
    ) -> None:
        """Cut the network, which is in the mode in which it learns, and take all the room that is needed.

        Only `subset` of the training images is computed, if there is one.

        Raises `RunError` if there is no room, or the network cannot be cut.
        """
        assert isinstance(plan.features, FeaturePlan)
        self._plan, self._world, self._load, self._say = plan, world, load, say
        self._subset = subset
        train, spec = plan.config.train, plan.preprocess
        parts = cut_network(model, plan.features.frozen)
        self._model, self._rest = model, parts.rest
        extractors = _extractors(plan, model, parts, world.device)
        self._network = {
            "model": plan.config.model.name,
            "built": plan.arch_kwargs,
            "behind": parts.name,
            "weights": weights_digest(model, plan.features.frozen),
            "preprocess": spec.to_dict(),
            "max_pixels": plan.config.data.max_pixels,
            "device": world.device.type,
        }
        self._store = FeatureStore(features_folder(), int(train.features_gb * 1e9))
        is_augmented = plan.config.augment.policy != "none"
        views = range(min(plan.features.views, train.epochs)) if is_augmented else [None]
        self._open: list[_Set] = []
        try:
            self._training = [self._set("train", view, extractors[train.precision]) for view in views]
            self._measuring = {
                split: self._set(split, None, extractors["fp32"]) for split in measured_splits(plan)
            }
        except MantaError:
            self.close()
            raise

    def rest_of(self, model: nn.Module) -> nn.Module:
        """Return what stands behind the features: of the network in training, or of a copy (an average)."""
        assert isinstance(self._plan.features, FeaturePlan)
        return self._rest if model is self._model else cut_network(model, self._plan.features.frozen).rest

    def training(self, epoch: int, order: Plan) -> Iterator[Batch]:
        """Yield the batches of an epoch; computes first what is missing of its view."""
        chosen = self._training[epoch % len(self._training)]
        self._fill(chosen)
        return self._loader(chosen, replace=True).batches(order)

    def measuring(self, split: str) -> tuple[FeatureLoader, int]:
        """Return a loader of a split to be measured, and the number of its samples."""
        chosen = self._measuring[split]
        self._fill(chosen)
        return self._loader(chosen, replace=False), len(chosen.samples)

    def close(self) -> None:
        """Let others evict the tables."""
        for each in self._open:
            each.table.close()
            each.samples.close()
        self._open = []

    def _loader(self, chosen: _Set, *, replace: bool) -> FeatureLoader:
        pin = self._world.device.type == "cuda"
        return FeatureLoader(
            chosen.samples, chosen.table, chosen.extractor.form, replace=replace, pin_memory=pin
        )

    def _set(self, split: str, view: int | None, extractor: Extractor) -> _Set:
        config, dataset = self._plan.config, self._plan.dataset
        augment = {
            "policy": config.augment.policy,
            "file": _content(config.augment.policy),
            "min_crop": config.augment.min_crop,
            "seed": config.run.seed,
            "view": view,
        }
        about = self._network | {
            "dataset": dataset.manifest.digest,
            "split": split,
            "augment": None if view is None else augment,
            "precision": extractor.precision,
            "type": str(extractor.form.type),
        }
        samples = dataset.samples(split)
        try:
            table = self._table(about, extractor, len(samples))
        except MantaError:
            samples.close()
            raise
        self._open.append(_Set(samples, view, about, extractor, table))
        return self._open[-1]

    def _table(self, about: dict[str, Any], extractor: Extractor, num_samples: int) -> FeatureTable:
        return self._store.open(about, extractor.form.dtype, (num_samples, *extractor.form.shape))

    def _fill(self, chosen: _Set) -> None:
        if chosen.is_filled:
            return
        seed = self._plan.config.run.seed

        def seeds(ids: Ids) -> list[int]:
            # The first epochs of a run without features show these very pictures.
            return [0] * len(ids) if chosen.view is None else sample_seeds(ids, seed, chosen.view)

        needed = np.arange(len(chosen.samples))
        if self._subset is not None and chosen.samples.name == "train":
            needed = self._subset

        def compute() -> None:
            fill(chosen.table, chosen.title, chosen.extractor, loader, seeds, needed, self._world, self._say)

        loader = self._load(chosen.samples, chosen.view)
        try:
            compute()
        except Stale:
            self._say(f"{chosen.title}: those in the cache are not what the network gives; computed again")
            self._store.discard(chosen.table)
            self._world.wait()
            chosen.table = self._table(chosen.about, chosen.extractor, len(chosen.samples))
            compute()
        finally:
            loader.close()
        chosen.is_filled = True


def open_features(
    plan: RunPlan, model: nn.Module, world: World, load: Load, say: Say, subset: Ids | None = None
) -> Features | None:
    """Return the features of a run whose plan has some, or None after saying why it goes without.

    Raises `RunError` instead of going without what was asked for (`train.feature_views`).
    """
    if not isinstance(plan.features, FeaturePlan):
        return None
    train = plan.config.train
    set_train_mode(model, apply_freeze(model, train.freeze, 0, train.epochs))
    features, problem = None, ""
    try:
        features = Features(plan, model, world, load, say, subset)
    except MantaError as error:
        problem = str(error)
    problems = [each for each in world.gather(problem) if each]
    if not problems:
        return features
    if features is not None:
        features.close()
    if train.feature_views != "auto":
        raise RunError(f"train.feature_views={train.feature_views}: {problems[0]}")
    say(f"the frozen part is computed in every step: {'; '.join(problems[0].splitlines())}")
    return None


def _content(policy: str) -> str | None:
    """Return the SHA-256 of the file that a policy is in, if it is in one."""
    if not policy.startswith(ALBUMENTATIONS):
        return None
    return hashlib.sha256(Path(policy.removeprefix(ALBUMENTATIONS)).read_bytes()).hexdigest()


def measured_splits(plan: RunPlan) -> list[str]:
    """Return the splits that a run measures: all but train, or train if there is no other."""
    return [name for name in plan.dataset.manifest.splits if name != "train"] or ["train"]


def _extractors(plan: RunPlan, model: nn.Module, parts: Parts, device: torch.device) -> dict[str, Extractor]:
    """Return the prefix, for training and for measuring, once it has shown to be a part of the network."""
    train, spec = plan.config.train, plan.preprocess
    layout = torch.channels_last if train.channels_last else torch.contiguous_format
    side, generator = spec.image_size, torch.Generator().manual_seed(0)
    images = torch.randn(2, spec.channels, side, side, generator=generator)
    images = images.to(device).contiguous(memory_format=layout)
    tolerance = _DIFFERENCE[device.type]
    if not agrees(model, parts.prefix, parts.rest, images, tolerance):
        raise RunError("the network cut in two does not answer as the whole one")
    prefix = folded(parts.prefix, images, tolerance)
    return {each: Extractor(prefix, spec, device, layout, each) for each in {train.precision, "fp32"}}
