"""Knowledge distillation: a student learns what larger networks answer, besides the labels.

    distillation = build_distillation(config.train, classes, preprocess, device)
    answers = distillation.answers(images)                   # before the student's own forward pass
    loss = distillation.blend(label_loss, logits, answers)

Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network": both sides are softened by a
temperature T; the divergence counts T^2 times, so that its gradient keeps its size at any T. Teachers see the
very pictures of the step, augmented and mixed, in their own normalisation and size; of several the mean
probability is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, kl_div, log_softmax

from lib.bundle import Bundle, read_bundle
from lib.config.training import TrainSection
from lib.config.wording import join
from lib.errors import UserError
from lib.images.spec import PreprocessSpec

# Red, green and blue in grey (ITU-R 601-2), as Pillow has them.
_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Teacher:
    """A network, and how its answers are read."""

    model: nn.Module
    spec: PreprocessSpec
    temperature: float
    """Of its calibration."""
    order: Tensor
    """int64 [classes]: where each class of the student is among its own."""


@dataclass(frozen=True)
class Distillation:
    """The teachers of a run, and how much they say."""

    teachers: tuple[Teacher, ...]
    spec: PreprocessSpec
    """What the student sees."""
    temperature: float
    weight: float

    @torch.no_grad()
    def answers(self, images: Tensor) -> Tensor:
        """Return softened probabilities [b, classes] for the student's input, float [b, c, h, w]."""
        total = torch.zeros((), device=images.device)
        for teacher in self.teachers:
            logits = teacher.model(adapt(images, self.spec, teacher.spec)).float()[:, teacher.order]
            total = total + (logits / (teacher.temperature * self.temperature)).softmax(1)
        return total / len(self.teachers)

    def blend(self, label_loss: Tensor, logits: Tensor, answers: Tensor) -> Tensor:
        """Return the loss with the teachers' share in it, summed over the batch as `label_loss` is."""
        softened = log_softmax(logits.float() / self.temperature, 1)
        taught = kl_div(softened, answers, reduction="sum") * self.temperature**2
        return (1 - self.weight) * label_loss + self.weight * taught


def adapt(images: Tensor, seen: PreprocessSpec, wanted: PreprocessSpec) -> Tensor:
    """Turn the input of one network, float [b, c, h, w], into that of another: size, channels, mean, std."""
    size = wanted.image_size
    if images.shape[2:] != (size, size):
        images = interpolate(images, (size, size), mode=wanted.interpolation, antialias=True)
    if (seen.channels, seen.mean, seen.std) == (wanted.channels, wanted.mean, wanted.std):
        return images
    pixels = images * _per_channel(seen.std, images) + _per_channel(seen.mean, images)
    if seen.channels > wanted.channels:
        pixels = (pixels * _per_channel(_GREY, images)).sum(1, keepdim=True)
    # One channel becomes three here by itself.
    return (pixels - _per_channel(wanted.mean, images)) / _per_channel(wanted.std, images)


def _per_channel(values: Sequence[float], images: Tensor) -> Tensor:
    return torch.tensor(values, device=images.device).view(-1, 1, 1)


def build_distillation(
    train: TrainSection, classes: list[str], spec: PreprocessSpec, device: torch.device
) -> Distillation | None:
    """Load the teachers of a run onto a device, or return None if it has none.

    Raises `UserError` as `check_teachers` does.
    """
    teachers = []
    for bundle in check_teachers(train.teachers, classes):
        model = bundle.build_model().to(device).to(memory_format=torch.channels_last).requires_grad_(False)
        order = torch.tensor([bundle.classes.index(name) for name in classes], device=device)
        teachers.append(Teacher(model, bundle.preprocess, bundle.manifest.temperature, order))
    if not teachers:
        return None
    return Distillation(tuple(teachers), spec, train.teacher_temperature, train.teacher_weight)


def check_teachers(paths: list[str], classes: list[str]) -> list[Bundle]:
    """Open the bundles of a run's teachers.

    Raises `UserError` if one is no bundle, is damaged, or knows other classes; their order may differ.
    """
    bundles = [read_bundle(Path(path)) for path in paths]
    for bundle in bundles:
        only = {
            "teacher": [name for name in bundle.classes if name not in classes],
            "dataset": [name for name in classes if name not in bundle.classes],
        }
        if any(only.values()):
            told = [f"only in the {where}: {_some(names)}" for where, names in only.items() if names]
            raise UserError(
                f"train.teacher={bundle.path} and the dataset have different classes: {'; '.join(told)}",
                "give a bundle that was trained on these classes, in any order",
            )
    return bundles


def _some(names: list[str]) -> str:
    return join(names, "and") if len(names) <= 5 else f"{', '.join(names[:5])} and {len(names) - 5} more"
