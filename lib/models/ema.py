"""An exponential moving average of a network's weights: what is evaluated and exported, not what is trained.

    ema = Ema(model, decay=0.999)
    ema.update(model)                   # after each step
    ema.model(images)                   # in eval mode

Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging", with an exponential window.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """A copy of a network that follows it: weight and batch statistics keep the share `decay` at each step.

    In the first steps it keeps less, (1 + n) / (10 + n) after n steps, so that a short run is not judged by
    the weights it started from.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay
        self._updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the weights that a step has just left."""
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        self._updates += 1
        averages, values = _tensors(self.model), _tensors(model)
        floats = [place for place, value in enumerate(values) if value.is_floating_point()]
        average_all: Any = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch has none
        average_all([averages[i] for i in floats], [values[i] for i in floats], None)
        for average, value in zip(averages, values, strict=True):
            if not value.is_floating_point():  # numbers of batches
                average.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes."""
        return {"updates": self._updates, "model": self.model.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where another average was."""
        self._updates = state["updates"]
        self.model.load_state_dict(state["model"])


def _tensors(model: nn.Module) -> list[Tensor]:
    """Parameters and buffers; of what is sharded over workers, the part of this one."""
    tensors = [*model.parameters(), *model.buffers()]
    return [value.to_local() if isinstance(value, DTensor) else value for value in tensors]
