"""What ends a run in the middle, as a sentence and what to do: no memory, no compiler, no finite loss.

with explained(config, world_size=2): …       # RunError: out of memory with train.batch_size=64 …
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from lib.config.schema import FinetuneConfig
from lib.errors import MantaError, RunError
from lib.train.signals import StoppedError

# What allocators say (CUDA's, torch's on the CPU, C++'s), and Ray of a worker that it ended.
_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "low on memory",
)
_COMPILERS = ("torch._dynamo", "torch._inductor")


class DivergedError(RunError):
    """The loss became infinite or no number."""


@contextmanager
def explained(config: FinetuneConfig, world_size: int) -> Iterator[None]:
    """Turn an error that a setting can avoid into a `RunError` that names it; others pass."""
    try:
        yield
    except MantaError:
        raise
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise RunError(*out_of_memory(config, world_size)) from error
        if type(error).__module__.startswith(_COMPILERS):
            raise RunError(*_not_compiled(config, error)) from error
        raise


def check_loss(loss: float, epoch: int, config: FinetuneConfig) -> None:
    """Raise `DivergedError` if a loss is no number; `epoch` counts from 0."""
    if not math.isfinite(loss):
        raise DivergedError(
            f"the loss became {loss} in epoch {epoch + 1}",
            "lower optim.lr, add optim.warmup_epochs, or set train.gradient_clip=1.0; "
            f"go on from the last state with run.resume={config.run.name}",
        )


def outcome_of(error: BaseException | None) -> str:
    """Return the `outcome` that the metrics of a run have for what ended its workers."""
    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, StoppedError) or not isinstance(error, Exception | None):
        return "stopped"
    if isinstance(error, MantaError):
        return "failed"
    return "finished" if error is None else "crashed"


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that there was not enough memory."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY)


def out_of_memory(config: FinetuneConfig, world_size: int) -> tuple[str, str]:
    """Return problem and hint for a run whose steps need more memory than there is."""
    train = config.train
    share = -(-train.batch_size // world_size)
    pieces = min(2 * train.accumulate, share)
    problem = (
        f"out of memory with train.batch_size={train.batch_size}, train.accumulate={train.accumulate}: "
        f"{-(-share // train.accumulate)} images at a time on each worker"
    )
    smaller = f"go on in smaller pieces: run.resume={config.run.name} train.accumulate={pieces}"
    if pieces == train.accumulate:
        smaller = "take a smaller model.image_size or network"
    return problem, f"{smaller}; or start anew with a smaller train.batch_size"


def _not_compiled(config: FinetuneConfig, error: Exception) -> tuple[str, str]:
    first = str(error).strip().split("\n")[0]
    hint = f"install a C++ compiler, or go on without: run.resume={config.run.name} train.compile=false"
    return f"train.compile=true: torch cannot compile {config.model.name}: {first}", hint
