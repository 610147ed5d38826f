"""The Ray this process talks to: the one at RAY_ADDRESS, else one of its own.

connect()                                    # connect(loads=["lib.train.launch"]) loads that meanwhile
place(requested="auto", use_gpu="auto")      # Placement(workers=1, gpu=False, cpus=2)
results = ray_map(function, items, at_a_time=4)
"""

import contextlib
import logging
import math
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from lib.errors import MantaError, RunError, UserError
from lib.runtime import loading

# How long a cancelled task may take to end before it is told again, at last by the end of its process.
_CANCEL_S = 15.0

T = TypeVar("T")
R = TypeVar("R")

# Ray reads these when it is imported or started; what the user has set is kept.
_QUIET = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # A thread that asks for something while the process ends would start another Ray.
    "RAY_ENABLE_AUTO_CONNECT": "0",
}


def connect(loads: Sequence[str] = ()) -> None:
    """Join the Ray at RAY_ADDRESS, else start one; without its log lines on this terminal.

    `ray job submit` sets RAY_ADDRESS. A Ray that happens to run here is never joined unasked. `loads` are
    modules to load meanwhile: to start a Ray is to wait for others. Does nothing if connected. Raises
    `UserError` if RAY_ADDRESS names a cluster that does not answer.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        return
    with _own_signals(), loading(*loads):
        _connect()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this process does on SIGTERM: Ray would exit with another code."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _connect() -> None:
    import ray

    if is_own():
        _keep_token_private()
        # The one node of an own Ray is never drained: no process has to look out for that.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        # Ray's workers are nice (15): anything else on the machine would come before the training.
        os.environ.setdefault("RAY_worker_niceness", "0")
        ray.init("local", log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        return
    address = os.environ["RAY_ADDRESS"]
    try:
        _probe(address)
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        problem = f"no Ray answers at RAY_ADDRESS={address}: {str(error).splitlines()[0]}"
        hint = "start it, or unset RAY_ADDRESS; if it asks for a token, set RAY_AUTH_MODE=token"
        raise UserError(problem, hint) from None


def is_own() -> bool:
    """Tell whether `connect` starts a Ray rather than joining one: of one node, and no more."""
    return not os.environ.get("RAY_ADDRESS")


def is_connected() -> bool:
    """Tell whether this process talks to a Ray, without loading it."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def metrics_addresses() -> list[str]:
    """Return HOST:PORT where nodes export metrics: of the Ray at RAY_ADDRESS, else of those that run here.

    Raises `UserError` if there is none.
    """
    if is_own():
        return _local_metrics_addresses()
    connect()
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # no types, as below
    ray.shutdown()
    ports = [(node["NodeManagerAddress"], node["MetricsExportPort"]) for node in nodes if node["Alive"]]
    return [f"{host}:{port}" for host, port in ports if port > 0]


def _local_metrics_addresses() -> list[str]:
    """Find them in the folders that the Rays of this machine have, or had."""
    folder = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"
    notes = sorted(folder.glob("session_*/metrics_export_port_*"), key=lambda path: -path.stat().st_mtime)
    ports = dict.fromkeys(note.read_text().strip() for note in notes)
    open_ones = [port for port in ports if port.isdigit() and _is_open(int(port))]
    if not open_ones:
        hint = "set RAY_ADDRESS, or say where metrics are: 'metrics=[HOST:PORT]'"
        raise UserError("no Ray runs on this machine", hint)
    return [f"127.0.0.1:{port}" for port in open_ones]


def _is_open(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False


def _keep_token_private() -> None:
    """Give an own Ray its own token, in the environment that its processes inherit.

    Otherwise Ray would write one to ~/.ray/auth_token, and whoever types `ray start` afterwards has a cluster
    that refuses `ray job submit`.
    """
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)


def _probe(address: str) -> None:
    """Find out at once what Ray finds out in two minutes; ConnectionError if nothing listens there."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            raise ConnectionError(error.strerror or str(error)) from None


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
    gpu_nodes = [node for node in nodes if node.get("GPU", 0) >= 1]
    gpus = int(sum(node["GPU"] for node in gpu_nodes))
    gpu = gpus > 0 if use_gpu == "auto" else use_gpu
    if gpu:
        workers = gpus if requested == "auto" else requested
        if not 1 <= workers <= gpus:
            hint = f"set run.num_workers={gpus}" if gpus else "set run.use_gpu=auto"
            raise UserError(f"{max(1, workers)} workers need a GPU each; the cluster has {gpus}", hint)
        # Each worker fits beside the other GPUs of its node.
        cpus_per_gpu = min(node.get("CPU", 0) // node["GPU"] for node in gpu_nodes)
        return Placement(workers, gpu, max(1.0, cpus_per_gpu))
    cpus = [node["CPU"] for node in nodes if node.get("CPU", 0) >= 1]
    if len(cpus) == 1:
        # Beside other work, an endpoint say, take the cores that are left.
        free: float = ray.available_resources().get("CPU", 0)  # type: ignore[no-untyped-call]  # no types, as above
        cpus = [free if free >= 1 else cpus[0]]
    workers = max(1, len(cpus)) if requested == "auto" else requested
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

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # no types, as above
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

    When one fails, or the caller stops early, the others have ended before this returns. Raises what the
    function raises, and `RunError` if a task is lost.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

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
    except RayTaskError as error:
        if isinstance(error.cause, MantaError):
            raise error.cause from None
        raise
    except RayError as error:
        raise RunError(f"a task was lost: {str(error).splitlines()[0]}", "is the memory full?") from error
    finally:
        _end(waiting)


def _end(waiting: list[Any]) -> None:
    """Cancel tasks and wait for their end; one that is just beginning may miss that it is cancelled."""
    import ray

    for force in (False, False, True):
        for reference in waiting:
            ray.cancel(reference, force=force)
        if waiting:
            _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=_CANCEL_S)


def _call(function: Callable[[T], R], item: T) -> R:
    return function(item)
