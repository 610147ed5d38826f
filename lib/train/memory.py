"""About how much memory a training step needs, from shapes alone.

estimate_mb(model_on_meta, "adamw", images=32, channels=3, image_size=224)
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Copies of each parameter: weights, gradients, and what the optimizer keeps (muon: less for its matrices).
_COPIES = {"sgd": 3, "adam": 4, "adamw": 4, "muon": 4}
_FLOAT_BYTES = 4


def estimate_mb(
    skeleton: nn.Module,
    optimizer: str,
    *,
    images: int,
    channels: int,
    image_size: int,
    has_ema: bool = False,
    blocks: Sequence[str] = (),
    shards: int = 1,
    units: Sequence[str] = (),
) -> float:
    """Return megabytes (10^6 bytes) for `images` at a time on one worker, in fp32.

    Counts parameters, gradients, optimizer state, and the output of every layer, which the backward pass
    needs; of `blocks`, which are computed again, the outputs and the largest inside. With several `shards`
    a worker has its share of the parameters, and of `units`, which are gathered in turn, one at work and the
    next. `skeleton` is the network on the meta device.
    """
    kept = 0
    inside = dict.fromkeys(blocks, 0)

    def count(path: str, output: object) -> None:
        nonlocal kept
        size = output.numel() if isinstance(output, Tensor) else 0
        block = next((block for block in blocks if path.startswith(f"{block}.")), None)
        if block is None:
            kept += size
        else:
            inside[block] += size

    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, path=path: count(path, output))
        for path, module in skeleton.named_modules()
        if path in inside or not list(module.children())
    ]
    with torch.inference_mode():
        skeleton.eval()(torch.empty(images, channels, image_size, image_size, device="meta"))
    for handle in handles:
        handle.remove()
    parameters = _size(skeleton)
    held = (_COPIES[optimizer] + has_ema) * parameters / shards
    if shards > 1:
        sizes = [_size(skeleton.get_submodule(path)) for path in units]
        # Weights of two units and gradients of one; weights and gradients of what is in none.
        held += 3 * max(sizes, default=0) + 2 * (parameters - sum(sizes))
    outputs = kept + max(inside.values(), default=0)
    return (held + outputs) * _FLOAT_BYTES / 1e6


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
