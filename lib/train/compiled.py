"""The network as the training step runs it, compiled.

network = compiled(model)       # the same parameters; the first step of each batch size takes a minute
"""

from typing import cast

import torch
import torch._dynamo.config
from torch import nn

# Sizes of batches (two in an epoch, times their pieces) times what is frozen at the time: torch's own limit
# of 8 would be reached, and it would go on without compiling.
_VERSIONS = 64


def compiled(model: nn.Module) -> nn.Module:
    """Return a network that runs compiled code on the parameters of `model`, which stays as it is.

    Every size of batch is compiled for itself: then the code, and with it the rounding, does not depend on
    which size came first, and a resumed run ends with the same bits.
    """
    torch._dynamo.config.recompile_limit = _VERSIONS
    return cast(nn.Module, torch.compile(model, dynamic=False))
