"""Progressive resizing: a run as stages of one image size, batch size and factor of the learning rate each.

    stages = build_stages(config.train, image_size=224, num_samples=54_000)
    stage_at(stages, epoch=3).steps                  # steps of that epoch
    steps_before(stages, epoch=3, step=7)            # steps since the start of the run

Epochs differ in their steps, so a position in a run is two integers, epoch and step, both from 0; only
`steps_before` makes one number of them. Small pictures first is due to Howard (fast.ai, 2018; see Tan and Le
2021); the network has no part in it but must take every size.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

from lib.config.training import TrainSection
from lib.data.order import num_steps
from lib.images.spec import PreprocessSpec


@dataclass(frozen=True)
class Stage:
    """The epochs first_epoch … until_epoch - 1, from 0; `steps` are those of one epoch."""

    first_epoch: int
    until_epoch: int
    image_size: int
    batch_size: int
    lr_factor: float
    steps: int

    @property
    def num_epochs(self) -> int:
        """Epochs of the stage."""
        return self.until_epoch - self.first_epoch


def build_stages(train: TrainSection, image_size: int, num_samples: int) -> tuple[Stage, ...]:
    """Return the stages of `train.resize`, and one of the plain settings for the epochs after them."""
    settings = [
        (s.until_epoch, s.image_size, s.batch_size or train.batch_size, s.lr_factor) for s in train.resize
    ]
    if not settings or settings[-1][0] < train.epochs:
        settings.append((train.epochs, image_size, train.batch_size, 1.0))
    starts = [0, *(until for until, *_ in settings)]
    return tuple(
        Stage(first, until, size, batch_size, factor, num_steps(num_samples, batch_size))
        for (first, until), (_, size, batch_size, factor) in zip(pairwise(starts), settings, strict=True)
    )


def stage_at(stages: tuple[Stage, ...], epoch: int) -> Stage:
    """Return the stage of an epoch, from 0."""
    assert 0 <= epoch < stages[-1].until_epoch, epoch
    return next(stage for stage in stages if epoch < stage.until_epoch)


def steps_before(stages: tuple[Stage, ...], epoch: int, step: int = 0) -> int:
    """Return the steps of a run before a step of an epoch; both count from 0."""
    return step + sum(_epochs_before(stage, epoch) * stage.steps for stage in stages)


def work_before(stages: tuple[Stage, ...], epoch: int, step: int = 0) -> float:
    """Return the share of a run's pixels, from 0 to 1, that are seen before a step of an epoch."""
    areas = [stage.image_size**2 for stage in stages]
    total = sum(area * stage.num_epochs for area, stage in zip(areas, stages, strict=True))
    done = sum(area * _epochs_before(stage, epoch) for area, stage in zip(areas, stages, strict=True))
    if not step:
        return done / total
    stage = stage_at(stages, epoch)
    return (done + stage.image_size**2 * step / stage.steps) / total


def stage_spec(spec: PreprocessSpec, stage: Stage) -> PreprocessSpec:
    """Return the preprocessing of a stage: the same share of the picture, at its size."""
    resize_size = round(spec.resize_size * stage.image_size / spec.image_size)
    return replace(spec, image_size=stage.image_size, resize_size=resize_size)


def stage_lines(stages: tuple[Stage, ...], image_size: int) -> list[str]:
    """Describe the steps of a run for a person; `image_size` is the one that is measured at."""
    epochs, first = stages[-1].until_epoch, stages[0]
    if stages == (replace(first, image_size=image_size, lr_factor=1.0),):
        return [f"steps     {epochs} epochs of {first.steps} steps, up to {first.batch_size} images each"]
    total = steps_before(stages, epochs)
    lines = [f"steps     {total:,} in {epochs} epochs; measured at {image_size} x {image_size}"]
    for stage in stages:
        which = f"epoch {stage.until_epoch}"
        if stage.num_epochs > 1:
            which = f"epochs {stage.first_epoch + 1} to {stage.until_epoch}"
        lines.append(
            f"          {which}: {stage.image_size} x {stage.image_size}, {stage.steps} steps an epoch, "
            f"up to {stage.batch_size} images each, learning rate x {stage.lr_factor:g}"
        )
    return lines


def _epochs_before(stage: Stage, epoch: int) -> int:
    return max(0, min(epoch, stage.until_epoch) - stage.first_epoch)
