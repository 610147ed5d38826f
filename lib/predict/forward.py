"""One network on one device: uint8 pixels to logits. A faster engine takes the place of `torch_engine`.

engine = torch_engine(bundle)
logits = engine(pixels)              # uint8 [b, c, h, w] -> float32 [b, classes]
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lib.bundle import Bundle
from lib.images.preprocess import normalise

# Takes uint8 [b, c, h, w], returns float32 logits [b, classes] on the CPU.
Engine = Callable[[Tensor], Tensor]
MakeEngine = Callable[[Bundle], Engine]


def torch_engine(bundle: Bundle, device: str = "cpu") -> Engine:
    """Build the network of a bundle on a device, in eval mode, channels last."""
    model = bundle.build_model().to(device).to(memory_format=torch.channels_last)
    spec = bundle.preprocess

    @torch.inference_mode()
    def forward(pixels: Tensor) -> Tensor:
        images = normalise(pixels.to(device), spec).contiguous(memory_format=torch.channels_last)
        logits: Tensor = model(images).float().cpu()
        return logits

    return forward
