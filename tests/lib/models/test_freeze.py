from itertools import pairwise

import pytest
import torch
from torch import nn

from lib.config.names import FREEZE_STRATEGIES
from lib.errors import UserError
from lib.models.build import build_model
from lib.models.freeze import (
    apply_freeze,
    freeze_table,
    set_train_mode,
    suggest_freeze,
    trainable_groups,
)
from lib.models.sizes import build_skeleton

RESNET_GROUPS = 6


@pytest.mark.parametrize(
    ("strategy", "trainable"),
    [("none", {0, 1, 2, 3, 4, 5}), ("early", {3, 4, 5}), ("most", {4, 5}), ("head", {5})],
)
def test_fixed_strategies_of_resnets(strategy: str, trainable: set[int]) -> None:
    for epoch in (0, 9):
        assert trainable_groups(strategy, RESNET_GROUPS, epoch, 10) == trainable


def test_gradual_unfreezes_one_group_after_the_other() -> None:
    counts = [len(trainable_groups("gradual", RESNET_GROUPS, epoch, 20)) for epoch in range(20)]
    assert counts == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 6, 6]


@pytest.mark.parametrize("epochs", range(1, 30))
def test_gradual_ends_with_everything(epochs: int) -> None:
    sets = [trainable_groups("gradual", RESNET_GROUPS, epoch, epochs) for epoch in range(epochs)]
    assert all(earlier <= later for earlier, later in pairwise(sets))
    assert all(len(s) == RESNET_GROUPS for s in sets[epochs * 3 // 4 :])
    if epochs > 1:
        assert sets[0] == {5}


@pytest.mark.parametrize("strategy", FREEZE_STRATEGIES)
@pytest.mark.parametrize("num_groups", range(1, 7))
def test_the_head_always_learns(strategy: str, num_groups: int) -> None:
    for epoch in range(4):
        assert num_groups - 1 in trainable_groups(strategy, num_groups, epoch, 4)


def test_unknown_strategy() -> None:
    with pytest.raises(UserError, match="there is no such strategy"):
        trainable_groups("all", 6, 0, 1)


def test_apply_freeze_sets_gradients_and_counts() -> None:
    model = build_skeleton("resnet18", 10)
    freeze = apply_freeze(model, "early", 0, 1)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert all(name.startswith(("conv1.", "bn1.", "layer1.", "layer2.")) for name in frozen)
    assert freeze.frozen_parameters == 9_536 + 147_968 + 525_568
    assert freeze.trainable_parameters == sum(p.numel() for p in model.parameters() if p.requires_grad)
    apply_freeze(model, "none", 0, 1)
    assert all(p.requires_grad for p in model.parameters())


def test_frozen_layers_stay_as_they_are_while_training() -> None:
    torch.manual_seed(0)
    model = build_model("resnet8", 3, image_size=32)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    freeze = apply_freeze(model, "most", 0, 1)
    set_train_mode(model, freeze)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(torch.rand(4, 3, 32, 32)).sum().backward()
    optimizer.step()
    after = model.state_dict()
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"layer3", "fc"}


def test_dropout_of_frozen_groups_is_off() -> None:
    model = build_model("alexnet", 3, image_size=64)
    set_train_mode(model, apply_freeze(model, "head", 0, 1))
    assert not any(m.training for m in model.modules() if isinstance(m, nn.Dropout))
    assert model.get_submodule("classifier.6").training
    set_train_mode(model, apply_freeze(model, "none", 0, 1))
    assert all(m.training for m in model.modules())


def test_auxiliary_heads_learn_with_the_head() -> None:
    model = build_skeleton("googlenet", 3)
    apply_freeze(model, "head", 0, 1)
    learning = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {"aux1", "aux2", "fc"}


def test_freeze_table() -> None:
    model = build_skeleton("resnet18", 10)
    rows = freeze_table(model, "most")
    assert [row.name for row in rows if row.trainable] == ["layer4", "fc"]
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in model.parameters())
    assert [row.first_epoch for row in freeze_table(model, "gradual", epochs=20)] == [15, 12, 9, 6, 3, 0]


def test_suggest_freeze() -> None:
    assert [suggest_freeze(n) for n in (100, 1_000, 10_000, 10_001)] == ["head", "most", "most", "none"]
