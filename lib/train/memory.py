"""How much memory a training needs: about, from shapes alone, and in fact.

estimate_mb(model_on_meta, "adamw", images=32, channels=3, image_size=224)
forget_peak(device); …; peak_mb(device)
"""

import ctypes
import gc
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

# Copies of each parameter: weights, gradients, and what the optimizer keeps (muon: less for its matrices).
_COPIES = {"sgd": 3, "adam": 4, "adamw": 4, "muon": 4}
_FLOAT_BYTES = 4
_PROCESS = Path("/proc/self")


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


def peak_mb(device: torch.device) -> float:
    """Return the most megabytes (10^6 bytes) so far: of the GPU, else of this process; 0 if nobody counts."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    status = _PROCESS / "status"
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), 0.0)


def forget_peak(device: torch.device) -> None:
    """Give back what earlier work in this process has left, and count the peak anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    with suppress(OSError):  # a kernel that does not count, or does not let us
        (_PROCESS / "clear_refs").write_text("5")


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
