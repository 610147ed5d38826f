"""Gradient checkpointing: each block keeps its input alone and is computed again for its gradient.

    blocks = recompute_blocks(model)        # the same results from then on, with less memory

Chen et al. 2016, "Training deep nets with sublinear memory cost". Dropout draws the same numbers again. Batch
statistics, which a second pass would move a second time, stay as the first one left them.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from lib.errors import UserError
from lib.models.groups import depth_groups


def recompute_blocks(model: nn.Module) -> None:
    """Make every block of a network compute itself again in the backward pass of training."""
    for path in block_paths(model):
        block = model.get_submodule(path)
        block.forward = partial(_forward, block, block.forward)


def block_paths(model: nn.Module) -> list[str]:
    """Return the paths of the modules of the backbone that hold layers and are not divided any further."""
    paths = [path for group in depth_groups(model)[:-1] for path in group.modules]
    return [path for path in paths if list(model.get_submodule(path).children())]


def check_blocks(model: nn.Module, name: str) -> None:
    """Raise `UserError` if a network is one list of layers, without blocks."""
    if not block_paths(model):
        raise UserError(
            f"train.checkpoint_activations needs a network of blocks; {name} is one list of layers",
            "to save memory, raise train.accumulate instead",
        )


def _forward(block: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
    if not block.training:  # evaluation, or frozen
        return forward(*args, **kwargs)
    contexts = partial(_contexts, block)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _keep_statistics(block)


@contextmanager
def _keep_statistics(block: nn.Module) -> Iterator[None]:
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.training]
    before = [(norm, norm.momentum, _count(norm)) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield  # torch leaves by an exception once it has what it needs
    finally:
        for norm, momentum, count in before:
            norm.momentum = momentum
            if count is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(count)


def _count(norm: _BatchNorm) -> Tensor | None:
    return None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()
