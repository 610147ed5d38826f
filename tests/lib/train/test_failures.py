from collections.abc import Callable

import pytest
import torch

from lib.config.schema import FinetuneConfig
from lib.errors import RunError, UserError
from lib.train.failures import explained

Make = Callable[..., FinetuneConfig]

HUGE = 2**60


@pytest.mark.parametrize("ask", [lambda: torch.empty(HUGE), lambda: bytearray(HUGE)], ids=["torch", "python"])
def test_too_little_memory_names_what_to_change(finetune_config: Make, ask: Callable[[], object]) -> None:
    config = finetune_config(train__batch_size=100, train__accumulate=2)
    with pytest.raises(RunError) as caught, explained(config, world_size=3):
        ask()
    told = "out of memory with train.batch_size=100, train.accumulate=2: 17 images at a time on each worker"
    assert caught.value.problem == told
    assert (
        "run.resume=run train.accumulate=4; or start anew with a smaller train.batch_size"
        in caught.value.hint
    )


def test_single_images_cannot_be_split_any_further(finetune_config: Make) -> None:
    config = finetune_config(train__batch_size=4, train__accumulate=4)
    with pytest.raises(RunError, match="1 images at a time") as caught, explained(config, world_size=1):
        torch.empty(HUGE)
    assert "take a smaller model.image_size or network" in caught.value.hint


def test_other_errors_pass_as_they_are(finetune_config: Make) -> None:
    for error in (RuntimeError("shapes"), UserError("out of memory"), ValueError("x")):
        with pytest.raises(type(error)) as caught, explained(finetune_config(), world_size=1):
            raise error
        assert caught.value is error
