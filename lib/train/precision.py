"""Whether a processor multiplies in bf16 so much faster than in fp32 that it is worth a word.

hint = precision_hint("fp32", torch.device("cpu"), image_size=224)      # a sentence, or None
"""

import torch

from lib.images.augment import is_small

# Intel's matrix units. Processors that have only instructions for bf16 were not measured.
_UNITS = "amx_bf16"


def precision_hint(precision: str, device: torch.device, image_size: int) -> str | None:
    """Return what to type to use the matrix units of this CPU; None without them, or for small images.

    It is not done unasked: bf16 keeps three digits of each number.
    """
    if precision != "fp32" or device.type != "cpu" or is_small(image_size):
        return None
    ask = getattr(torch.cpu, "get_capabilities", None)  # an older torch does not tell
    if ask is None or not ask().get(_UNITS, False):
        return None
    return "hint: this CPU has matrix units for bf16; train.precision=bf16 may halve the time of a step"
