"""The images of a run, as one worker gets them: training batches in order, splits to measure, bad samples.

inputs = Inputs(plan, world, tell)
for batch in inputs.training(epoch, first_step): …; inputs.used(epoch, step, batch)
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
from lib.images.augment import train_transform
from lib.train.plan import RunPlan
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
        self._loader = self._load(self._samples, is_training=True)
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
            batch_size=config.train.batch_size,
            window_shards=config.data.shuffle_window_shards,
            weights=self._weights,
        )

    def labels(self) -> NDArray[np.int32]:
        """Return the labels of all training images; raises `RunError` if the index is damaged."""
        return self._samples.labels()

    def training(self, order: EpochPlan, first_step: int) -> Iterator[Batch]:
        """Yield this worker's share of every remaining batch of an epoch."""
        rank, size = self._world.rank, self._world.size
        return self._loader.batches(
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
        loader = self._load(samples, is_training=False)
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
        self._loader.close()
        self._samples.close()

    def _load(self, samples: Samples, *, is_training: bool) -> Loader:
        spec, data, augment = self._plan.preprocess, self._plan.config.data, self._plan.config.augment
        policy = augment.policy if is_training else "none"
        return Loader(
            samples,
            train_transform(policy, spec, data.max_pixels, scale=(augment.min_crop, 1.0)),
            (spec.channels, spec.image_size, spec.image_size),
            threads=data.threads or self._world.threads,
            quarantine=self.quarantine,
            replace=is_training,
            prefetch_mb=data.prefetch_mb,
            pin_memory=self._world.device.type == "cuda",
        )
