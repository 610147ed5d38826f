"""The images of a run, as one worker gets them: training batches in order, splits to measure, bad samples.

inputs = Inputs(plan, world, tell)
order = inputs.order(epoch)
for batch in inputs.training(epoch, order, first_step): …; inputs.used(epoch, step, batch)
with inputs.measuring("val") as (loader, num_samples, spec): …
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lib.data.dataset import Samples
from lib.data.loader import Batch, Loader
from lib.data.quarantine import Quarantine, read_quarantine
from lib.data.sampling import EpochPlan, sampling_weights
from lib.data.subset import draw_subset
from lib.images.augment import Transform, train_transform
from lib.images.preprocess import normalise
from lib.images.spec import PreprocessSpec
from lib.predict.evaluate import Source
from lib.train.feature_inputs import Features, open_features
from lib.train.plan import RunPlan
from lib.train.stages import Stage
from lib.train.trace import TraceWriter, next_attempt
from lib.train.world import World


class Inputs:
    """Loaders of a run, its quarantine, and its trace if there is to be one."""

    def __init__(self, plan: RunPlan, world: World, tell: Callable[[str], None]) -> None:
        self._plan, self._world = plan, world
        sizes = {name: split.num_samples for name, split in plan.dataset.manifest.splits.items()}
        self.quarantine = Quarantine(sizes, plan.config.data.max_bad_fraction, tell)
        self.quarantine.merge(read_quarantine(plan.quarantine_file))
        self._samples = plan.dataset.samples("train")
        self._loader: Loader | None = None
        self._stage: Stage | None = None
        self._weights = sampling_weights(self._samples, plan.dataset.classes, plan.config.data)
        wanted, seed = plan.config.data.train_images, plan.config.run.seed
        self._subset = None if wanted is None else draw_subset(self._samples.labels(), wanted, seed)
        self._trace: TraceWriter | None = None
        if plan.config.run.trace:
            folder = plan.folder / "trace"
            attempt = world.from_first(next_attempt(folder) if world.rank == 0 else 0)
            self._trace = TraceWriter(folder, attempt, world.rank, world.size)
        self._features: Features | None = None

    def use_features(self, model: nn.Module, say: Callable[[str], None]) -> None:
        """Take what the frozen part of the model gives from the cache from now on, if the plan says so.

        Raises `RunError` if features were asked for and cannot be had.
        """

        def load(samples: Samples, view: int | None) -> Loader:
            stage = self._plan.stage(0)
            transform = self._plain() if view is None else stage_transform(self._plan, stage)
            # Little is loaded ahead: what others compute meanwhile would be loaded in vain.
            return self._load(samples, transform, self._plan.preprocess, replace=False, prefetch_mb=0)

        self._features = open_features(self._plan, model, self._world, load, say, self._subset)

    @property
    def has_features(self) -> bool:
        """Whether batches hold features, not pictures."""
        return self._features is not None

    def learning_part(self, model: nn.Module) -> nn.Module:
        """Return the part of a model that takes what `network_input` gives: all of it, without features."""
        return model if self._features is None else self._features.rest_of(model)

    def order(self, epoch: int) -> EpochPlan:
        """Return the batches of an epoch."""
        config = self._plan.config
        return EpochPlan(
            self._samples.counts,
            seed=config.run.seed,
            epoch=epoch,
            batch_size=self._plan.stage(epoch).batch_size,
            window_shards=config.data.shuffle_window_shards,
            weights=self._weights,
            subset=self._subset,
        )

    def labels(self) -> NDArray[np.int32]:
        """Return the labels of the training images in use; raises `RunError` if the index is damaged."""
        labels = self._samples.labels()
        return labels if self._subset is None else labels[self._subset]

    def training(self, epoch: int, order: EpochPlan, first_step: int) -> Iterator[Batch]:
        """Yield this worker's share of every remaining batch of an epoch."""
        rank, size = self._world.rank, self._world.size
        batches = (order.batch(step, rank, size) for step in range(first_step, order.num_steps))
        if self._features is not None:
            return self._features.training(epoch, batches)
        return self._training_loader(self._plan.stage(epoch)).batches(batches)

    def network_input(self, batch: Batch) -> Tensor:
        """Return what the network in training takes, on its device: images [b, c, h, w], or features."""
        given = batch.pixels.to(self._world.device, non_blocking=True)
        return given if self._features is not None else normalise(given, self._plan.preprocess)

    def used(self, epoch: int, step: int, batch: Batch) -> None:
        """Note that a step has used a batch."""
        if self._trace is not None:
            self._trace.write(epoch, step, self._samples.keys(batch.ids))

    @contextmanager
    def measuring(self, split: str) -> Iterator[tuple[Source, int, PreprocessSpec | None]]:
        """Open a split to be measured: its loader, the number of its samples, and how they are normalised."""
        if self._features is not None:
            yield *self._features.measuring(split), None
            return
        samples = self._plan.dataset.samples(split)
        spec = self._plan.preprocess
        loader = self._load(samples, self._plain(), spec, replace=False)
        try:
            yield loader, len(samples), spec
        finally:
            loader.close()
            samples.close()

    def share_bad(self) -> None:
        """Tell all workers which samples any of them found bad, and keep the list with the run.

        Raises `RunError` if they are too many together.
        """
        for entries in self._world.gather(self.quarantine.entries()):
            self.quarantine.merge(entries)
        if self._world.rank == 0:
            self.quarantine.write(self._plan.quarantine_file)

    def close(self) -> None:
        """End the threads, close the shards of the training split, and let others evict the features."""
        if self._loader is not None:
            self._loader.close()
        self._samples.close()
        if self._features is not None:
            self._features.close()

    def _plain(self) -> Transform:
        """Return what measuring does to a picture."""
        return train_transform("none", self._plan.preprocess, self._plan.config.data.max_pixels)

    def _training_loader(self, stage: Stage) -> Loader:
        """Return the loader of a stage; the one of another stage is closed."""
        if self._loader is None or self._stage != stage:
            if self._loader is not None:
                self._loader.close()
            transform = stage_transform(self._plan, stage)
            self._loader = self._load(self._samples, transform, self._plan.spec(stage), replace=True)
            self._stage = stage
        return self._loader

    def _load(
        self,
        samples: Samples,
        transform: Transform,
        spec: PreprocessSpec,
        *,
        replace: bool,
        prefetch_mb: float | None = None,
    ) -> Loader:
        data = self._plan.config.data
        return Loader(
            samples,
            transform,
            (spec.channels, spec.image_size, spec.image_size),
            threads=data.threads or self._world.threads,
            quarantine=self.quarantine,
            replace=replace,
            prefetch_mb=data.prefetch_mb if prefetch_mb is None else prefetch_mb,
            pin_memory=self._world.device.type == "cuda",
        )


def stage_transform(plan: RunPlan, stage: Stage) -> Transform:
    """Return what training does to a picture in a stage, `(data, seed) -> uint8 [c, h, w]`."""
    augment = plan.config.augment
    return train_transform(
        augment.policy,
        plan.spec(stage),
        plan.config.data.max_pixels,
        scale=(augment.min_crop, 1.0),
        final_size=plan.preprocess.image_size,
    )
