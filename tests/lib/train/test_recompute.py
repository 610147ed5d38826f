from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lib.config.schema import FinetuneConfig
from lib.errors import UserError
from lib.models.build import build_model
from lib.train.plan import plan_run
from lib.train.recompute import recompute_blocks

Make = Callable[..., FinetuneConfig]


def kept_bytes(model: nn.Module, images: Tensor) -> int:
    """Do a forward and a backward pass; return how much the first kept for the second."""
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    torch.manual_seed(1)  # of dropout
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss = model(images).square().sum()
    torch.autograd.backward(loss)
    return kept


# Batch statistics; dropout and squeeze-and-excitation besides; attention.
@pytest.mark.parametrize(("name", "size"), [("resnet8", 32), ("mobilenet_v3_small", 32), ("swin_t", 32)])
def test_the_same_bits_with_less_memory(name: str, size: int) -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(build_model(name, 3, image_size=size))
    recompute_blocks(models[1])
    images = torch.randn(4, 3, size, size)
    for _ in range(2):
        plain, again = (kept_bytes(model, images) for model in models)
        assert again < plain / 2
    assert all(p.grad is not None for p in models[0].parameters())
    for (path, mine), (_, other) in zip(*(m.named_parameters() for m in models), strict=True):
        assert torch.equal(mine.grad, other.grad), path
    for path, value in models[0].state_dict().items():
        assert torch.equal(value, models[1].state_dict()[path]), path


def test_evaluation_is_left_alone() -> None:
    model = build_model("resnet8", 3, image_size=32).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        before = model(images)
        recompute_blocks(model)
        assert torch.equal(model(images), before)


def test_a_network_without_blocks_is_refused(finetune_config: Make) -> None:
    with pytest.raises(UserError, match=r"alexnet is one list of layers\n.*raise train.accumulate"):
        plan_run(
            finetune_config(model__name="alexnet", model__image_size=64, train__checkpoint_activations=True)
        )
