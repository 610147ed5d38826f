import copy

import pytest
import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import SGD

from lib.models.build import build_model
from lib.train.losses import Objective
from lib.train.step import StepSettings, gradient_norm, train_step


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


def take(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, **settings: object) -> tuple:
    scaler = GradScaler("cpu", enabled=settings.get("precision") == "fp16")
    return train_step(
        model,
        SGD(model.parameters(), lr=0.1),
        scaler,
        images,
        labels,
        global_count=int(settings.pop("global_count", len(images))),
        settings=StepSettings(**settings),
    )


def test_gradients_of_unequal_shares_add_up_to_those_of_the_whole_batch() -> None:
    images, labels = torch.randn(7, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    whole = small_net()
    take(whole, images, labels)
    parts = []
    for share in (slice(0, 5), slice(5, 7)):
        model = small_net()
        take(model, images[share], labels[share], global_count=7, world_size=2)
        parts.append([p.grad for p in model.parameters()])
    for parameter, first, second in zip(whole.parameters(), *parts, strict=True):
        # What data-parallel workers do: the mean of their gradients.
        assert torch.allclose((first + second) / 2, parameter.grad, atol=1e-6)


def test_returns_the_summed_loss_and_the_correct_answers_before_the_update() -> None:
    model = small_net()
    images, labels = torch.randn(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    with torch.no_grad():
        logits = model(images)
    loss, correct, _ = take(copy.deepcopy(model), images, labels)
    assert loss.item() == pytest.approx(nn.functional.cross_entropy(logits, labels).item() * 5, rel=1e-5)
    assert correct == (logits.argmax(1) == labels).sum()


def test_soft_targets_of_one_class_are_the_hard_label() -> None:
    images, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    hard, soft = small_net(), small_net()
    loss_hard, _, _ = take(hard, images, labels)
    loss_soft, _, _ = take(soft, images, nn.functional.one_hot(labels, 3).float())
    assert loss_soft.item() == pytest.approx(loss_hard.item(), rel=1e-6)


@pytest.mark.parametrize("pieces", [2, 3, 7, 100])
@pytest.mark.parametrize("targets", ["labels", "mixed"])
def test_pieces_add_up_to_the_step_in_one(pieces: int, targets: str) -> None:
    images, labels = torch.randn(7, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    wanted = labels if targets == "labels" else torch.rand(7, 3).softmax(1)
    objective = Objective("focal", label_smoothing=0.1, class_weights=torch.tensor([0.5, 1.0, 2.0]))
    whole, parts = small_net(), small_net()
    loss, correct, _ = take(whole, images, wanted, objective=objective, gradient_clip=0.5)
    again = take(parts, images, wanted, objective=objective, gradient_clip=0.5, accumulate=pieces)
    assert again[0].item() == pytest.approx(loss.item(), abs=1e-6)
    assert again[1] == correct
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6)
        assert torch.allclose(one, other, atol=1e-6)


def test_clipping_bounds_the_gradient() -> None:
    model = small_net()
    images, labels = torch.randn(4, 1, 8, 8) * 100, torch.tensor([0, 1, 2, 0])
    before = take(copy.deepcopy(model), images, labels, gradient_clip=1e9)[2]
    _, _, told = take(model, images, labels, gradient_clip=0.01)
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    assert norm.item() == pytest.approx(0.01, rel=1e-3)
    assert told.item() == pytest.approx(before.item(), rel=1e-5)
    assert told.item() > 1


def test_the_norm_of_what_a_step_has_left_is_that_of_all_gradients_together() -> None:
    model = small_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    images, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    scaler, settings = GradScaler("cpu", enabled=False), StepSettings()
    _, _, told = train_step(model, optimizer, scaler, images, labels, global_count=4, settings=settings)
    assert told is None
    whole = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert gradient_norm(optimizer) == pytest.approx(whole.norm().item(), rel=1e-6)


def test_auxiliary_heads_are_trained() -> None:
    model = build_model("googlenet", 3, image_size=64)
    take(model, torch.randn(2, 3, 64, 64), torch.tensor([0, 1]))
    assert model.aux1.fc2.weight.grad.abs().sum() > 0
    assert model.aux2.fc2.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_autocast_still_returns_an_fp32_loss(precision: str) -> None:
    loss, _, _ = take(small_net(), torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]), precision=precision)
    assert loss.dtype == torch.float32
    assert loss.isfinite()
