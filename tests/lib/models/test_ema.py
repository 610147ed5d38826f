import pytest
import torch
from torch import nn

from lib.models.ema import Ema


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3))


def shake(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    model(torch.randn(4, 1, 8, 8))  # moves the batch statistics


def test_each_step_keeps_the_decay_and_less_at_the_start() -> None:
    model = small_net()
    ema = Ema(model, decay=0.3)
    expected = {name: value.double() for name, value in model.state_dict().items()}
    for decay in (0.1, 2 / 11, 0.25, 0.3, 0.3):
        shake(model)
        ema.update(model)
        for name, value in model.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value.double()
    for name, value in ema.model.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value.double(), expected[name], atol=1e-6), name
    assert ema.model.get_buffer("1.num_batches_tracked") == 5


def test_the_copy_stays_in_eval_mode_and_has_no_gradient() -> None:
    model = small_net().train()
    ema = Ema(model, decay=0.9)
    ema.update(model)
    assert not ema.model.training
    assert model.training
    assert not any(p.requires_grad for p in ema.model.parameters())


def test_what_does_not_move_stays_to_the_bit() -> None:
    model = small_net()
    ema = Ema(model, decay=0.999)
    for _ in range(20):
        ema.update(model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, ema.model.state_dict()[name]), name


@pytest.mark.parametrize("before", [0, 3])
def test_it_goes_on_from_its_state(before: int) -> None:
    model = small_net()
    straight = Ema(model, decay=0.5)
    for _ in range(before):
        shake(model)
        straight.update(model)
    other = Ema(small_net(), decay=0.5)
    other.load_state_dict(straight.state_dict())
    shake(model)
    straight.update(model)
    other.update(model)
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name
