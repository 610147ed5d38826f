"""What does not go together in a training run, each as one sentence; the sections are in lib.config.schema.

check_schedule(config.optim, config.train.epochs)        # ValueError, or nothing
"""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lib.config.schema import AugmentSection, OptimSection, TrainSection

# The schedules that look at an option.
_USERS = {
    "min_lr": ("cosine", "warm_restarts", "plateau", "one_cycle"),
    "step_epochs": ("step",),
    "step_factor": ("step", "plateau"),
    "plateau_patience": ("plateau",),
    "restart_epochs": ("warm_restarts",),
}


def check_schedule(optim: "OptimSection", epochs: int) -> None:
    """Raise `ValueError` for an option that another schedule would use, or a schedule that never acts."""
    for name, users in _USERS.items():
        value = getattr(optim, name)
        if optim.schedule not in users and value != _default(optim, name):
            raise ValueError(
                f"optim.{name}={value:g} has no effect with optim.schedule={optim.schedule}; "
                f"it is for {', '.join(users)}"
            )
    if optim.schedule in _USERS["min_lr"] and optim.min_lr > optim.lr:
        raise ValueError(f"optim.min_lr={optim.min_lr:g} is above optim.lr={optim.lr:g}")
    left = epochs - optim.warmup_epochs
    if left <= 0:
        raise ValueError(
            f"optim.warmup_epochs={optim.warmup_epochs:g} leaves nothing of train.epochs={epochs}"
        )
    # The epoch after which the schedule acts for the first time.
    first = {
        "step": ("step_epochs", optim.step_epochs),
        "warm_restarts": ("restart_epochs", optim.restart_epochs),
        "plateau": ("plateau_patience", optim.plateau_patience + 2 - optim.warmup_epochs),
    }
    name, epoch = first.get(optim.schedule, ("", 0))
    if name and epoch >= left:
        raise ValueError(
            f"optim.{name}={getattr(optim, name)} leaves optim.schedule={optim.schedule} nothing to do in "
            f"train.epochs={epochs}; lower it"
        )


def check_stages(train: "TrainSection", num_workers: int | str) -> None:
    """Raise `ValueError` if the stages of `train.resize` do not follow each other within the run."""
    ends = [stage.until_epoch for stage in train.resize]
    if any(after <= before for before, after in pairwise(ends)):
        raise ValueError(
            f"train.resize: until_epoch must grow from stage to stage, not {', '.join(map(str, ends))}"
        )
    if ends and ends[-1] > train.epochs:
        raise ValueError(
            f"train.resize ends with epoch {ends[-1]}, and train.epochs={train.epochs}; make them agree"
        )
    for index, stage in enumerate(train.resize):
        size = stage.batch_size or train.batch_size
        if isinstance(num_workers, int) and size < num_workers:
            raise ValueError(
                f"train.resize.{index}.batch_size={size} is less than run.num_workers={num_workers}; "
                "each worker needs an image per step"
            )


def check_mix(augment: "AugmentSection", train: "TrainSection", num_workers: int | str) -> None:
    """Raise `ValueError` for options of augmentation that would change nothing."""
    if augment.policy == "none" and augment.min_crop != _default(augment, "min_crop"):
        raise ValueError(
            f"augment.min_crop={augment.min_crop:g} has no effect with augment.policy=none; light crops only"
        )
    if augment.mix == "none":
        if augment.mix_alpha != _default(augment, "mix_alpha"):
            raise ValueError(
                f"augment.mix_alpha={augment.mix_alpha:g} has no effect with augment.mix=none; "
                "choose mixup, cutmix or both"
            )
        return
    workers = max(1, num_workers) if isinstance(num_workers, int) else 1
    smallest = min([train.batch_size, *(stage.batch_size or train.batch_size for stage in train.resize)])
    if smallest < 2 * workers:
        raise ValueError(
            f"augment.mix={augment.mix} blends pairs within a worker; {smallest} images a step are less "
            f"than two each for {workers} worker{'s' * (workers > 1)}"
        )


def _default(section: Any, name: str) -> Any:
    return type(section).model_fields[name].default
