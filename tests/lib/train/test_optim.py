from typing import get_args

import pytest

from lib.config.optimisation import Optimizer, OptimSection
from lib.models.build import build_model
from lib.train.optim import OPTIMIZERS, build_optimizer, set_learning_rate


def test_registry_holds_every_optimizer_of_the_configuration() -> None:
    assert set(OPTIMIZERS) == set(get_args(Optimizer))


@pytest.mark.parametrize("name", get_args(Optimizer))
def test_every_parameter_is_optimised_once_and_vectors_do_not_decay(name: Optimizer) -> None:
    # Muon needs matrices, and the others may have them.
    model = build_model("lenet5" if name == "muon" else "resnet8", 10, channels=1, image_size=32)
    optimizer = build_optimizer(model, OptimSection(name=name, weight_decay=0.1))
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, model.parameters()))
    for group in optimizer.param_groups:
        assert group["weight_decay"] == (0.1 if group["params"][0].ndim > 1 else 0.0)


def test_layer_decay_slows_shallow_groups() -> None:
    model = build_model("resnet18", 10, image_size=64)
    optimizer = build_optimizer(model, OptimSection(layer_decay=0.5))
    set_learning_rate(optimizer, 0.8)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    expected = {"conv1": 0.5**5, "layer1": 0.5**4, "layer2": 0.5**3, "layer3": 0.5**2, "layer4": 0.5, "fc": 1}
    for name, factor in expected.items():
        rates = [rate[id(p)] for p in model.get_submodule(name).parameters()]
        assert rates == pytest.approx([0.8 * factor] * len(rates))


def test_the_head_has_its_own_rate() -> None:
    model = build_model("resnet8", 10, channels=1, image_size=32)
    optimizer = build_optimizer(model, OptimSection(lr=0.1, layer_decay=0.5, head_lr=0.4))
    set_learning_rate(optimizer, 0.01)  # as a schedule would, at a tenth of the peak
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, expected in {"conv1": 0.000625, "layer3": 0.005, "fc": 0.04}.items():
        rates = {rate[id(p)] for p in model.get_submodule(name).parameters()}
        assert list(rates) == pytest.approx([expected])
