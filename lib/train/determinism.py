"""The switch of torch to algorithms that give the same bits again.

with deterministic(config.run.deterministic):
    train()
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lib.errors import RunError


@contextmanager
def deterministic(is_wanted: bool) -> Iterator[None]:
    """Allow deterministic algorithms alone within the block, if wanted.

    Raises `RunError` for an operation that has none. Source:
    https://pytorch.org/docs/stable/notes/randomness.html
    """
    if not is_wanted:
        yield
        return
    # cuBLAS reads it when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        first = str(error).partition("\n")[0]
        if "deterministic" not in first:
            raise
        name = first.partition(" does not have")[0]
        problem = f"run.deterministic: torch has no deterministic algorithm for {name}"
        raise RunError(problem, "leave run.deterministic out, or choose another network or device") from None
    finally:
        torch.use_deterministic_algorithms(False)
