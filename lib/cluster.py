"""The Ray this process talks to: the one at RAY_ADDRESS or on this machine, else one of its own.

connect()
place(requested="auto", use_gpu="auto")      # Placement(workers=1, gpu=False, cpus=2)
results = ray_map(function, items, at_a_time=4)
"""

import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from lib.errors import UserError

T = TypeVar("T")
R = TypeVar("R")

# Ray reads these when it is imported or started; what the user has set is kept.
_QUIET = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def connect() -> None:
    """Join or start Ray, without its log lines on this terminal; does nothing if connected.

    Raises `UserError` if RAY_ADDRESS names a cluster that does not answer.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        return
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except ConnectionError as error:
        hint = "start it (ray start --head), or unset RAY_ADDRESS to use a Ray of this process"
        problem = f"no Ray answers at RAY_ADDRESS={os.environ.get('RAY_ADDRESS', '')}"
        raise UserError(f"{problem}: {str(error).splitlines()[0]}", hint) from None


@dataclass(frozen=True)
class Placement:
    """How many workers, and what each of them gets."""

    workers: int
    gpu: bool
    cpus: float


def place(requested: int | Literal["auto"], use_gpu: bool | Literal["auto"]) -> Placement:
    """Fit workers to the cluster: one per GPU, else one per node with all its cores, or as many as asked for.

    Raises `UserError` if GPUs are asked for that the cluster does not have.
    """
    import ray

    alive: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray has no types here
    nodes = [node["Resources"] for node in alive if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    cpus = [node["CPU"] for node in nodes if node.get("CPU", 0) >= 1]
    if len(cpus) == 1:
        # Beside other work, an endpoint say, take the cores that are left.
        free: float = ray.available_resources().get("CPU", 0)  # type: ignore[no-untyped-call]  # as above
        cpus = [free if free >= 1 else cpus[0]]
    gpu = gpus > 0 if use_gpu == "auto" else use_gpu
    workers = requested if requested != "auto" else (gpus if gpu else len(cpus))
    if gpu and workers > gpus:
        hint = f"set run.num_workers={gpus}" if gpus else "set run.use_gpu=false"
        raise UserError(f"{workers} workers need a GPU each; the cluster has {gpus}", hint)
    return Placement(workers, gpu, cpus_per_worker(cpus, workers))


def local_device(use_gpu: bool | Literal["auto"]) -> str:
    """Return "cuda" or "cpu" for work in this process.

    Raises `UserError` if a GPU is asked for and there is none.
    """
    import torch

    if use_gpu is True and not torch.cuda.is_available():
        raise UserError("run.use_gpu=true, but this machine has no GPU", "set run.use_gpu=auto")
    return "cuda" if use_gpu and torch.cuda.is_available() else "cpu"


def num_cpus() -> int:
    """Cores of the whole cluster."""
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # as above
    return max(1, int(resources.get("CPU", 1)))


def cpus_per_worker(cpus: Sequence[float], workers: int) -> float:
    """Return the most cores that each of `workers` can have when nodes with `cpus` cores share them."""
    for share in range(int(max(cpus, default=1)), 0, -1):
        if sum(int(node // share) for node in cpus) >= workers:
            return float(share)
    # More workers than cores: they take turns.
    return max(0.01, math.floor(100 * sum(cpus) / workers) / 100) if cpus else 0.01


def ray_map(
    function: Callable[[T], R], items: Iterable[T], *, at_a_time: int, cpus: float = 1.0, gpus: float = 0.0
) -> Iterator[R]:
    """Yield `function(item)` in order, as Ray tasks of which `at_a_time` run at once.

    When one fails, or the caller stops early, the others have ended before this returns.
    """
    import ray

    remote: Any = ray.remote(num_cpus=cpus, num_gpus=gpus)(_call)
    shared = ray.put(function)
    waiting: list[Any] = []
    try:
        for item in items:
            if len(waiting) >= at_a_time:
                yield ray.get(waiting.pop(0))
            waiting.append(remote.remote(shared, item))
        while waiting:
            yield ray.get(waiting.pop(0))
    finally:
        for reference in waiting:
            ray.cancel(reference)
        if waiting:
            ray.wait(waiting, num_returns=len(waiting), timeout=60)


def _call(function: Callable[[T], R], item: T) -> R:
    return function(item)
