from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from lib.config.schema import FinetuneConfig
from lib.config.training import Loss
from lib.train.losses import LOSSES, Objective, auto_weights, build_objective

Make = Callable[..., FinetuneConfig]

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0], [-2.0, 0.3, 0.1], [1.0, 1.0, 1.0]])
LABELS = torch.tensor([0, 2, 1, 1])
WEIGHTS = torch.tensor([0.5, 2.0, 1.25])
MIXED = torch.tensor([[0.7, 0.3, 0], [0, 0, 1], [0.25, 0.25, 0.5], [0, 0.9, 0.1]])


def test_registry_holds_every_loss_of_the_configuration() -> None:
    assert set(LOSSES) == set(get_args(Loss))


def by_the_formula(objective: Objective, targets: Tensor) -> float:
    """-sum_c w_c t_c (1 - p_c)^gamma log p_c, written out."""
    gamma = objective.gamma if objective.loss == "focal" else 0.0
    weights = [1.0] * 3 if objective.class_weights is None else objective.class_weights.tolist()
    soft = one_hot(targets, 3).double() if targets.ndim == 1 else targets.double()
    total = 0.0
    for row, wanted in zip(LOGITS.double(), soft, strict=True):
        for c, p in enumerate((row.exp() / row.exp().sum()).tolist()):
            t = wanted[c].item() * (1 - objective.label_smoothing) + objective.label_smoothing / 3
            total -= weights[c] * t * (1 - p) ** gamma * np.log(p)
    return total


@pytest.mark.parametrize("loss", get_args(Loss))
@pytest.mark.parametrize("targets", [LABELS, MIXED], ids=["labels", "mixed"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["even", "weighted"])
def test_every_combination_is_the_one_formula(
    loss: str, targets: Tensor, smoothing: float, weights: Tensor | None
) -> None:
    objective = Objective(loss, gamma=1.5, label_smoothing=smoothing, class_weights=weights)
    assert objective(LOGITS, targets).item() == pytest.approx(by_the_formula(objective, targets), rel=1e-6)


def test_focal_loss_turns_to_what_is_wrong() -> None:
    def share_of_the_first(objective: Objective) -> float:
        each = [objective(LOGITS[i : i + 1], LABELS[i : i + 1]).item() for i in range(2)]
        return each[0] / sum(each)

    # The first sample is right, the second wrong.
    assert share_of_the_first(Objective("focal")) < share_of_the_first(Objective()) / 5


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_a_certain_answer_has_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    loss = Objective("focal", gamma=gamma)(logits, torch.tensor([0, 0]))
    torch.autograd.backward(loss)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[1, 0] < -0.5


def test_half_precision_is_summed_in_fp32() -> None:
    logits = LOGITS.bfloat16()
    for loss in get_args(Loss):
        assert Objective(loss, gamma=0.0)(logits, LABELS).item() == pytest.approx(
            cross_entropy(logits.float(), LABELS, reduction="sum").item(), rel=1e-6
        )


def test_auto_weights_make_up_for_rare_classes() -> None:
    labels = np.array([0] * 6 + [1] * 2 + [3] * 1, dtype=np.int32)
    weights = auto_weights(labels, 4)
    assert weights.tolist() == pytest.approx([0.5, 1.5, 0.0, 3.0])
    assert weights[labels].mean().item() == pytest.approx(1.0)


def test_a_run_takes_its_weights_by_name_or_from_its_images(finetune_config: Make) -> None:
    def built(labels: Any, weights: Any) -> Objective:
        train = finetune_config(train__class_weights=weights).train
        return build_objective(train, ["a", "b", "c"], labels, torch.device("cpu"))

    def unread() -> Any:
        raise AssertionError("labels are read for auto only")

    assert built(unread, "none").class_weights is None
    named = built(unread, {"b": 2.5}).class_weights
    assert named is not None
    assert named.tolist() == [1, 2.5, 1]
    auto = built(lambda: np.array([0, 1, 1, 2], dtype=np.int32), "auto").class_weights
    assert auto is not None
    assert auto.tolist() == pytest.approx([4 / 3, 2 / 3, 4 / 3])
