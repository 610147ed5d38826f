import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.amp import GradScaler

from lib.config.optimisation import OptimSection
from lib.config.schema import FinetuneConfig
from lib.errors import UserError
from lib.models.build import build_model
from lib.models.sizes import build_skeleton
from lib.train.muon import hidden_matrices
from lib.train.optim import build_optimizer, set_learning_rate
from lib.train.plan import plan_run

Make = Callable[..., FinetuneConfig]
MUON = OptimSection(name="muon", lr=1e-2, weight_decay=0.0)


def lenet() -> nn.Module:
    torch.manual_seed(0)
    return build_model("lenet5", 10, channels=1, image_size=28)


def backward(model: nn.Module, seed: int, scale: float = 1.0) -> None:
    images = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    torch.autograd.backward(model(images).square().sum() * scale)


def names(model: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    chosen = set(map(id, parameters))
    return {name for name, p in model.named_parameters() if id(p) in chosen}


def test_matrices_are_those_within_the_network() -> None:
    model = lenet()
    assert names(model, hidden_matrices(model)) == {"classifier.1.weight", "classifier.3.weight"}
    vit = build_skeleton("vit_b_16", 10)
    found = names(vit, hidden_matrices(vit))
    assert len(found) == 12 * 4  # query, key and value in one, the output, two of the MLP
    assert not any(part in name for name in found for part in ("head", "conv_proj", "embedding", "token"))
    swin = build_skeleton("swin_t", 10)
    assert not any("relative_position" in name for name in names(swin, hidden_matrices(swin)))


def test_matrices_move_in_all_directions_alike_and_the_rest_as_with_adamw() -> None:
    model, plain = lenet(), lenet()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizers = [
        build_optimizer(model, MUON),
        build_optimizer(plain, MUON.model_copy(update={"name": "adamw"})),
    ]
    for network, optimizer in zip((model, plain), optimizers, strict=True):
        set_learning_rate(optimizer, 1e-2)
        backward(network, seed=1)
        optimizer.step()
    hidden = names(model, hidden_matrices(model))
    for name, parameter in model.named_parameters():
        if name in hidden:
            step = before[name] - parameter.detach()
            # As long in every direction as lets the whole be as large as a step of AdamW.
            longest = torch.linalg.matrix_norm(step, 2).item()
            assert longest == pytest.approx(0.2 * 1e-2 * max(step.shape) ** 0.5, rel=0.3)
        else:
            assert torch.equal(parameter, plain.get_parameter(name)), name


def test_it_goes_on_from_its_state_to_the_bit() -> None:
    straight = lenet()
    optimizer = build_optimizer(straight, MUON)
    for seed in range(2):
        optimizer.zero_grad()
        backward(straight, seed)
        optimizer.step()
    resumed = copy.deepcopy(straight)
    other = build_optimizer(resumed, MUON)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for network, each in ((straight, optimizer), (resumed, other)):
        each.zero_grad()
        set_learning_rate(each, 3e-3)
        backward(network, seed=2)
        each.step()
    for name, parameter in straight.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(name)), name


def test_a_gradient_scaler_takes_it() -> None:
    model = lenet()
    before = copy.deepcopy(model.state_dict())
    optimizer, scaler = build_optimizer(model, MUON), GradScaler("cpu", init_scale=4.0)
    scaler.scale(torch.ones(()))  # as `train_step` does with the loss
    backward(model, seed=0, scale=float("inf"))
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert scaler.get_scale() == 2.0
    optimizer.zero_grad()
    backward(model, seed=0, scale=scaler.get_scale())
    scaler.step(optimizer)
    assert not any(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_network_without_matrices_is_refused(finetune_config: Make) -> None:
    with pytest.raises(UserError, match=r"resnet8 has none before its head\nset optim.name=adamw"):
        plan_run(finetune_config(model__name="resnet8", optim__name="muon"))
