from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lib.config.schema import FinetuneConfig
from lib.errors import RunError, UserError
from lib.train.failures import explained
from lib.train.launch import train
from lib.train.plan import plan_run
from lib.train.world import World

Make = Callable[..., FinetuneConfig]


class Greedy(nn.Module):
    """Asks for more memory than any machine has when it is trained."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Linear(3, 3)
        self.fc = nn.Linear(3, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        if images.device.type == "cpu":
            torch.empty(2**60)
        logits: Tensor = self.fc(self.body(images.mean((2, 3))[:, :1].expand(-1, 3)))
        return logits


def greedy(num_classes: int, channels: int, image_size: int) -> nn.Module:
    return Greedy(num_classes)


@pytest.mark.parametrize(
    ("accumulate", "hint"),
    [(1, "run.resume=run train.accumulate=2"), (64, "take a smaller model.image_size or network")],
)
def test_too_little_memory_names_what_to_change(finetune_config: Make, accumulate: int, hint: str) -> None:
    name = f"{__name__}:greedy"
    changes = {"model__name": name, "model__image_size": 28, "train__accumulate": accumulate}
    plan = plan_run(finetune_config(**changes))
    told = f"out of memory with train.batch_size=64, train.accumulate={accumulate}: {64 // accumulate} images"
    with pytest.raises(RunError, match=told) as caught:
        train(plan, World(threads=2), lambda _: None)
    assert hint in caught.value.hint
    assert "a smaller train.batch_size" in caught.value.hint


def test_other_errors_pass_as_they_are(finetune_config: Make) -> None:
    for error in (RuntimeError("shapes"), UserError("out of memory"), ValueError("x")):
        with pytest.raises(type(error)) as caught, explained(finetune_config(), world_size=1):
            raise error
        assert caught.value is error
