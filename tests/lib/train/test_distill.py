from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lib.bundle import BundleContent, Golden, read_bundle, write_bundle
from lib.config.schema import FinetuneConfig
from lib.errors import UserError
from lib.images.preprocess import normalise
from lib.images.spec import PreprocessSpec
from lib.models.build import build_model
from lib.train.distill import Distillation, Teacher, adapt, build_distillation
from lib.train.plan import plan_run

Make = Callable[..., FinetuneConfig]

SPEC = PreprocessSpec(8, 8, 3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
GREY = PreprocessSpec(8, 8, 1, mean=(0.1,), std=(0.7,))


def linear(weight: float) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    with torch.no_grad():
        model[1].weight.mul_(weight)
    return model.eval()


def taught(*models: nn.Module, temperature: float = 2.0, weight: float = 0.5) -> Distillation:
    teachers = [Teacher(model, SPEC, 1.0, torch.arange(3)) for model in models]
    return Distillation(tuple(teachers), SPEC, temperature, weight)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_teacher_sees_the_pixels_in_its_own_normalisation(channels: int) -> None:
    pixels = torch.randint(0, 256, (2, channels, 8, 8), dtype=torch.uint8)
    seen = {1: GREY, 3: SPEC}[channels]
    other = PreprocessSpec(8, 8, channels, mean=(0.3,) * channels, std=(0.9,) * channels)
    found = adapt(normalise(pixels, seen), seen, other)
    assert torch.allclose(found, normalise(pixels, other), atol=1e-5)
    assert adapt(found, other, other) is found


def test_grey_becomes_colour_and_colour_grey() -> None:
    grey = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    colour = grey.expand(2, 3, 8, 8)
    assert torch.allclose(adapt(normalise(grey, GREY), GREY, SPEC), normalise(colour, SPEC), atol=1e-5)
    assert torch.allclose(adapt(normalise(colour, SPEC), SPEC, GREY), normalise(grey, GREY), atol=1e-5)


def test_a_teacher_sees_its_own_size() -> None:
    larger = PreprocessSpec(12, 12, 3, mean=SPEC.mean, std=SPEC.std)
    assert adapt(torch.ones(2, 3, 8, 8), SPEC, larger).shape == (2, 3, 12, 12)
    assert adapt(torch.ones(2, 3, 8, 8), SPEC, larger).unique().tolist() == [1]


def test_answers_are_the_mean_of_the_softened_ones() -> None:
    images = torch.randn(4, 3, 8, 8)
    first, second = linear(1.0), linear(-3.0)
    found = taught(first, second, temperature=4.0).answers(images)
    expected = ((first(images) / 4).softmax(1) + (second(images) / 4).softmax(1)) / 2
    assert torch.allclose(found, expected)
    assert not found.requires_grad


def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn() -> None:
    model, images = linear(2.0), torch.randn(4, 3, 8, 8)
    distillation = taught(model, weight=1.0)
    logits = model(images)
    loss = distillation.blend(torch.tensor(7.0), logits, distillation.answers(images))
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert model[1].weight.grad.abs().max() < 1e-5


def test_the_loss_is_blended_and_the_divergence_counts_the_temperature_squared() -> None:
    logits, wanted = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0.2, 0.5, 0.3]])
    p = (logits[0] / 3).softmax(0)
    divergence = (wanted[0] * (wanted[0] / p).log()).sum().item()
    loss = taught(temperature=3.0, weight=0.25).blend(torch.tensor(2.0), logits, wanted)
    assert loss.item() == pytest.approx(0.75 * 2 + 0.25 * 9 * divergence, rel=1e-5)


def with_classes(bundle: Path, folder: Path, classes: list[str]) -> Path:
    """Write the bundle again under other names of its classes."""
    old = read_bundle(bundle)
    content = BundleContent(
        model=old.build_model(),
        arch=old.arch,
        arch_kwargs=old.manifest.arch_kwargs,
        classes=classes,
        preprocess=old.preprocess,
        metrics={},
        dataset=old.manifest.dataset,
        golden=Golden(b"", np.zeros(10, np.float32)),
        config_yaml="",
        card="",
        temperature=old.manifest.temperature,
    )
    return write_bundle(folder, content).path


def test_classes_are_found_by_their_names(finetune_config: Make, digits_bundle: Path, tmp_path: Path) -> None:
    spec = read_bundle(digits_bundle).preprocess
    images, classes = torch.randn(5, 1, 28, 28), [str(digit) for digit in range(10)]
    train = finetune_config(train__teacher=str(digits_bundle)).train
    plain = build_distillation(train, classes, spec, torch.device("cpu"))
    other = build_distillation(train, classes[::-1], spec, torch.device("cpu"))
    assert plain is not None
    assert other is not None
    # Softmax adds up in the order of the classes.
    assert torch.allclose(plain.answers(images), other.answers(images).flip(1), atol=1e-6)


def test_other_classes_are_refused(finetune_config: Make, digits_bundle: Path, tmp_path: Path) -> None:
    names = ["0", "1", "2", "3", "4", "5", "6", "7", "eight", "nine"]
    bundle = with_classes(digits_bundle, tmp_path / "other", names)
    told = r"only in the teacher: eight and nine; only in the dataset: 8 and 9"
    with pytest.raises(UserError, match=told):
        plan_run(finetune_config(train__teacher=[str(digits_bundle), str(bundle)]))
    with pytest.raises(UserError, match="is not a bundle"):
        plan_run(finetune_config(train__teacher=str(tmp_path / "nowhere")))


def test_the_teacher_is_asked_in_the_precision_of_the_step() -> None:
    model = build_model("lenet5", 3, channels=1, image_size=28).eval()
    spec = PreprocessSpec(28, 28, 1, mean=(0.5,), std=(0.5,))
    distillation = Distillation((Teacher(model, spec, 1.0, torch.arange(3)),), spec, 1.0, 0.5)
    images = torch.randn(2, 1, 28, 28)
    exact = distillation.answers(images)
    with torch.autocast("cpu", torch.bfloat16):
        rough = distillation.answers(images)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert torch.allclose(rough, exact, atol=0.02)
