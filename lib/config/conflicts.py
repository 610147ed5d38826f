"""What does not go together in a training run, each as one sentence.

check_schedule(config.optim, config.train.epochs)        # ValueError, or nothing
"""

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib.config.augmentation import AugmentSection
    from lib.config.optimisation import OptimSection
    from lib.config.running import RunSection
    from lib.config.schema import FinetuneConfig
    from lib.config.section import Section
    from lib.config.training import TrainSection

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
        if optim.schedule not in users and _is_set(optim, name):
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


def check_stages(train: "TrainSection") -> None:
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


def check_shares(train: "TrainSection", workers: int) -> None:
    """Raise `ValueError` if a worker would have no image in a step, or in a piece of it."""
    for name, size in _batch_sizes(train).items():
        if size < workers:
            raise ValueError(
                f"{name}={size} is less than run.num_workers={workers}; each worker needs an image per step"
            )
        if train.accumulate > size // workers:
            raise ValueError(
                f"train.accumulate={train.accumulate} is more than the {size // workers} images that a "
                f"worker has in a step of {name}={size}"
            )


def _batch_sizes(train: "TrainSection") -> dict[str, int]:
    sizes = {"train.batch_size": train.batch_size}
    for index, stage in enumerate(train.resize):
        if stage.batch_size is not None:
            sizes[f"train.resize.{index}.batch_size"] = stage.batch_size
    return sizes


def check_mix(augment: "AugmentSection", train: "TrainSection", workers: int) -> None:
    """Raise `ValueError` for options of augmentation that would change nothing."""
    if augment.policy == "none" and _is_set(augment, "min_crop"):
        raise ValueError(
            f"augment.min_crop={augment.min_crop:g} has no effect with augment.policy=none; light crops only"
        )
    if augment.mix == "none":
        if _is_set(augment, "mix_alpha"):
            raise ValueError(
                f"augment.mix_alpha={augment.mix_alpha:g} has no effect with augment.mix=none; "
                "choose mixup, cutmix or both"
            )
        return
    smallest = min(_batch_sizes(train).values())
    if smallest < 2 * workers:
        raise ValueError(
            f"augment.mix={augment.mix} blends pairs within a worker; {smallest} images a step are less "
            f"than two each for {workers} worker{'s' * (workers > 1)}"
        )


def check_rates(optim: "OptimSection", train: "TrainSection") -> None:
    """Raise `ValueError` for rates per depth that exclude each other, or that nothing would learn at."""
    given = [f"optim.layer_decay={optim.layer_decay:g}"] * (optim.layer_decay != 1)
    if optim.head_lr is not None:
        given.append(f"optim.head_lr={optim.head_lr:g}")
    if optim.layer_factors and given:
        raise ValueError(f"optim.layer_factors replaces {' and '.join(given)}; leave one out")
    if optim.layer_factors:
        given.append("optim.layer_factors")
    if given and train.freeze == "head":
        raise ValueError(
            f"{' and '.join(given)} has no effect with train.freeze=head: the head learns at optim.lr"
        )


def check_workers(run: "RunSection", train: "TrainSection") -> None:
    """Raise `ValueError` for what the workers cannot do, or what makes equal runs differ."""
    if train.sync_batchnorm and run.most_workers in (0, 1):
        raise ValueError(f"train.sync_batchnorm has no effect with run.num_workers={run.most_workers}")
    if train.shard != "none" and run.most_workers in (0, 1):
        raise ValueError(f"train.shard={train.shard} has no effect with run.num_workers={run.most_workers}")
    if not run.deterministic:
        return
    if not isinstance(run.num_workers, int):
        raise ValueError("run.deterministic needs a number: run.num_workers=2, say; sums depend on it")
    if train.checkpoint_every_s:
        raise ValueError(
            "run.deterministic needs train.checkpoint_every_s=0: what is done by the clock differs from run "
            "to run; train.checkpoint_every_steps=500, say, keeps state as well"
        )


def check_optimisation(config: "FinetuneConfig") -> None:
    """Raise `ValueError` for an option of loss or optimizer that cannot be honoured beside the others."""
    train, optim, sampling = config.train, config.optim, config.data.sampling
    if train.loss != "focal" and _is_set(train, "focal_gamma"):
        raise ValueError("train.focal_gamma has no effect without train.loss=focal")
    if train.class_weights == "auto" and sampling != "uniform":
        raise ValueError(
            f"train.class_weights=auto makes up for rare classes, and data.sampling={sampling} changes how "
            "often they come; choose one"
        )
    if train.teacher is None and _is_set(train, "teacher_temperature", "teacher_weight"):
        raise ValueError(
            "train.teacher_temperature and train.teacher_weight have no effect without train.teacher=BUNDLE"
        )
    if train.teacher_weight == 1 and _is_set(train, "loss", "class_weights", "label_smoothing"):
        raise ValueError(
            "train.teacher_weight=1 leaves nothing to the labels; leave out train.loss, train.class_weights "
            "and train.label_smoothing, or give a smaller weight"
        )
    if train.compile and train.checkpoint_activations:
        raise ValueError(
            "train.compile=true chooses itself what to keep and what to compute again; leave out "
            "train.checkpoint_activations"
        )
    if train.shard != "none" and train.sync_batchnorm:
        raise ValueError(
            f"train.shard={train.shard} does not go with train.sync_batchnorm: they have not been tried "
            "together; leave one out"
        )
    if train.shard != "none" and train.compile:
        raise ValueError(
            f"train.shard={train.shard} does not go with train.compile: torch would compile each block for "
            "itself, and that is not tested; leave one out"
        )
    if train.shard != "none" and optim.name == "muon":
        raise ValueError(
            f"optim.name=muon works on whole matrices, and train.shard={train.shard} leaves each worker some "
            "rows; set optim.name=adamw"
        )
    if optim.name in ("adam", "adamw") and _is_set(optim, "momentum"):
        raise ValueError(f"optim.momentum has no effect with optim.name={optim.name}")


def _is_set(section: "Section", *names: str) -> bool:
    """Tell whether one of these fields has another value than its default."""
    return any(getattr(section, name) != type(section).model_fields[name].default for name in names)


def check_feature_views(train: "TrainSection", augment: "AugmentSection") -> None:
    """Raise `ValueError` for views of the pictures that could not be kept, or would all be the same."""
    if train.feature_views == "auto":
        return
    views = f"train.feature_views={train.feature_views}"
    if train.features_gb == 0:
        raise ValueError(f"{views} has no effect with train.features_gb=0, which keeps no features")
    if train.freeze in ("none", "gradual"):
        raise ValueError(
            f"{views} needs a part that stays frozen: train.freeze=head, most or early, not {train.freeze}"
        )
    others = {
        f"augment.mix={augment.mix} blends them": augment.mix != "none",
        "train.teacher looks at them": bool(train.teachers),
        "train.resize shows them at other sizes": bool(train.resize),
    }
    for problem in (text for text, is_so in others.items() if is_so):
        raise ValueError(f"{views} keeps features of pictures, and {problem}; leave one out")
    if train.shard != "none":
        raise ValueError(
            f"{views} needs the frozen part at one place, and train.shard={train.shard} shares it out"
        )
    if augment.policy == "none" and train.feature_views != 1:
        raise ValueError(f"{views} would be the same picture each time with augment.policy=none")
