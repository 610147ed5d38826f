"""About how much memory a training step needs, from shapes alone.

estimate_mb(model_on_meta, "adamw", images=32, channels=3, image_size=224)
"""

import torch
from torch import Tensor, nn

# Copies of each parameter: weights, gradients, and what the optimizer keeps.
_COPIES = {"sgd": 3, "adam": 4, "adamw": 4}
_FLOAT_BYTES = 4


def estimate_mb(skeleton: nn.Module, optimizer: str, *, images: int, channels: int, image_size: int) -> float:
    """Return megabytes (10^6 bytes) for a batch of `images` on one worker, in fp32.

    Counts parameters, gradients, optimizer state, and the output of every layer, which the backward pass
    needs; `skeleton` is the network on the meta device.
    """
    outputs = 0

    def count(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal outputs
        outputs += output.numel() if isinstance(output, Tensor) else 0

    leaves = [module for module in skeleton.modules() if not list(module.children())]
    handles = [leaf.register_forward_hook(count) for leaf in leaves]
    with torch.inference_mode():
        skeleton.eval()(torch.empty(images, channels, image_size, image_size, device="meta"))
    for handle in handles:
        handle.remove()
    parameters = sum(p.numel() for p in skeleton.parameters())
    return (_COPIES[optimizer] * parameters + outputs) * _FLOAT_BYTES / 1e6
