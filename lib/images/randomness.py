"""Randomness that belongs to one sample, whatever thread it is drawn in.

Torchvision's transforms draw from torch's global generator, which threads share: the same picture would be
changed differently in every run. Within `seeded(n)`, every draw of this thread comes from a generator that
starts at `n`; other threads and the global generator are not touched.

    with seeded(7):
        transform(image)    # the same result in every thread, every run
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_DRAWS = {
    torch.rand,
    torch.randint,
    torch.randn,
    torch.randperm,
    torch.normal,
    torch.bernoulli,
    torch.multinomial,
    torch._sample_dirichlet,  # how torchvision's AugMix, MixUp and CutMix draw
    torch.Tensor.uniform_,
    torch.Tensor.normal_,
    torch.Tensor.random_,
    torch.Tensor.bernoulli_,
    torch.Tensor.exponential_,
}

# These take no generator in every version of torch: draw from the function beside them instead.
_LIKE: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.rand_like: torch.rand,
    torch.randn_like: torch.randn,
    torch.randint_like: torch.randint,
}


class seeded(TorchFunctionMode):
    """Draw every random number of this thread from one generator; shape: `with seeded(seed): …`."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Pass the call on, with our generator if it draws random numbers."""
        kwargs = kwargs or {}
        if func in _LIKE:
            like, *bounds = args
            options = {"dtype": like.dtype, "device": like.device} | kwargs
            return _LIKE[func](*bounds, like.shape, generator=self._generator, **options)
        if func in _DRAWS and kwargs.get("generator") is None:
            kwargs = kwargs | {"generator": self._generator}
        return func(*args, **kwargs)
