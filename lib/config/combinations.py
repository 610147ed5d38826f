"""Options of training that would do nothing, or work against each other: refused instead of ignored.

refuse_without_effect(config)       # ValueError: train.focal_gamma has no effect without train.loss=focal
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib.config.schema import FinetuneConfig, Section


def refuse_without_effect(config: "FinetuneConfig") -> None:
    """Raise ValueError, a sentence, for the first option that cannot be honoured beside the others."""
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
    if optim.name in ("adam", "adamw") and _is_set(optim, "momentum"):
        raise ValueError(f"optim.momentum has no effect with optim.name={optim.name}")


def _is_set(section: "Section", *names: str) -> bool:
    """Tell whether one of these fields has another value than its default."""
    fields = type(section).model_fields
    return any(getattr(section, name) != fields[name].default for name in names)
