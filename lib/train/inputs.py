"""The images of a run, as one worker gets them: training batches in order, splits to measure, bad samples.

inputs = Inputs(plan, world, tell)
order = inputs.order(epoch)
for batch in inputs.training(epoch, order, first_step): …; inputs.used(epoch, step, batch)
with inputs.measuring("val") as loader: …
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from lib.data.dataset import Samples
from lib.data.loader import Batch, Loader
from lib.data.quarantine import Quarantine, read_quarantine
from lib.data.sampling import EpochPlan, sampling_weights
from lib.images.augment import Transform, train_transform
from lib.images.spec import PreprocessSpec
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
        self._trace: TraceWriter | None = None
        if plan.config.run.trace:
            folder = plan.folder / "trace"
            attempt = world.from_first(next_attempt(folder) if world.rank == 0 else 0)
            self._trace = TraceWriter(folder, attempt, world.rank, world.size)

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
        )

    def labels(self) -> NDArray[np.int32]:
        """Return the labels of all training images; raises `RunError` if the index is damaged."""
        return self._samples.labels()

    def training(self, epoch: int, order: EpochPlan, first_step: int) -> Iterator[Batch]:
        """Yield this worker's share of every remaining batch of an epoch."""
        rank, size = self._world.rank, self._world.size
        return self._training_loader(self._plan.stage(epoch)).batches(
            order.batch(step, rank, size) for step in range(first_step, order.num_steps)
        )

    def used(self, epoch: int, step: int, batch: Batch) -> None:
        """Note that a step has used a batch."""
        if self._trace is not None:
            self._trace.write(epoch, step, self._samples.keys(batch.ids))

    @contextmanager
    def measuring(self, split: str) -> Iterator[tuple[Loader, int]]:
        """Open a split to be measured: its loader, and the number of its samples."""
        samples = self._plan.dataset.samples(split)
        spec = self._plan.preprocess
        transform = train_transform("none", spec, self._plan.config.data.max_pixels)
        loader = self._load(samples, transform, spec, replace=False)
        try:
            yield loader, len(samples)
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
        """End the threads and close the shards of the training split."""
        if self._loader is not None:
            self._loader.close()
        self._samples.close()

    def _training_loader(self, stage: Stage) -> Loader:
        """Return the loader of a stage; the one of another stage is closed."""
        if self._loader is None or self._stage != stage:
            if self._loader is not None:
                self._loader.close()
            transform = stage_transform(self._plan, stage)
            self._loader = self._load(self._samples, transform, self._plan.spec(stage), replace=True)
            self._stage = stage
        return self._loader

    def _load(self, samples: Samples, transform: Transform, spec: PreprocessSpec, *, replace: bool) -> Loader:
        data = self._plan.config.data
        return Loader(
            samples,
            transform,
            (spec.channels, spec.image_size, spec.image_size),
            threads=data.threads or self._world.threads,
            quarantine=self.quarantine,
            replace=replace,
            prefetch_mb=data.prefetch_mb,
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
