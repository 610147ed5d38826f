"""The switch of torch to algorithms that give the same bits again.

prepare(config.run.deterministic)       # in every worker, before the network is built
with told(): train()                    # an operation without a deterministic algorithm is a sentence
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lib.errors import RunError


def prepare(is_deterministic: bool) -> None:
    """Allow deterministic algorithms alone, or all of them.

    What has no deterministic algorithm then raises `RuntimeError` where it is called, and names itself.
    Source: https://pytorch.org/docs/stable/notes/randomness.html
    """
    if is_deterministic:
        # cuBLAS reads it when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(is_deterministic)


@contextmanager
def told() -> Iterator[None]:
    """Turn torch's refusal into a `RunError` that says what to do."""
    try:
        yield
    except RuntimeError as error:
        first = str(error).splitlines()[0] if str(error) else ""
        if "deterministic" not in first:
            raise
        name = first.partition(" does not have")[0]
        problem = f"run.deterministic: torch has no deterministic algorithm for {name}"
        raise RunError(problem, "leave run.deterministic out, or choose another network or device") from None
