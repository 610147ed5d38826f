"""A group of Ray Train workers that survives lost workers, and what they say to the driver.

    result = run_on_ray(plan, placement, train, signals)

Workers talk to the terminal of the driver through a small actor: Ray's own forwarding prefixes every line
and mixes in its internals.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from lib.cluster import Placement
from lib.console import say
from lib.errors import MantaError, RunError
from lib.runtime import THREAD_ENVIRONMENT, keep_heap
from lib.train.elastic import ClusterView, room_within
from lib.train.failures import is_out_of_memory, out_of_memory
from lib.train.messages import Messages
from lib.train.plan import RunPlan
from lib.train.signals import Signals, StoppedError
from lib.train.watch import watched
from lib.train.world import World

# Runs one worker: (plan, its place among the workers, how it says a line) -> the result.
Train = Callable[[RunPlan, World, Callable[[str], None]], dict[str, Any]]

_POLL_S = 0.3
_SLOW_START_S = 90.0
# How long Ray looks for room for the workers before it gives up, and how long at a time. An elastic group
# asks for what the cluster has: there is room at once, or the cluster has changed and the group must.
_PLACEMENT_S = 600.0
_TRY_S, _ELASTIC_TRY_S = 60.0, 2.0
# How often an elastic group is held against the cluster.
_RESIZE_S = 10.0
# What a worker says whose peer has died: the run goes on with new ones.
_LOST_PEER = ("gloo", "NCCL", "Connection", "Socket")


def run_on_ray(plan: RunPlan, placement: Placement, train: Train, signals: Signals) -> dict[str, Any]:
    """Run `train` in every worker of a Ray Train group; return what worker 0 returned.

    Raises `RunError` if the workers fail for good, and when they have stopped after a signal.
    """
    import ray
    from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from lib.train.controller import InProcessTrainer
    from lib.train.packed import Packed

    # On this node: if it were lost with another one, no worker could be started again.
    here: Any = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    messages: Any = ray.remote(num_cpus=0, scheduling_strategy=here)(Messages).remote()
    asked = plan.config.run.num_workers
    elastic = asked if isinstance(asked, tuple) else None
    try_s = _ELASTIC_TRY_S if elastic else _TRY_S
    run_config: Any = RunConfig(  # Ray types the trainer with the old class of this name
        name="ray",
        storage_path=str(plan.state_folder),
        failure_config=FailureConfig(
            max_failures=plan.config.run.max_failures, controller_failure_limit=int(_PLACEMENT_S / try_s)
        ),
        worker_runtime_env={"env_vars": THREAD_ENVIRONMENT},
        logging_config=LoggingConfig(log_level="CRITICAL"),  # on this terminal; logs/train has everything
    )
    resources = {"CPU": placement.cpus} | ({"GPU": 1.0} if placement.gpu else {})
    trainer = InProcessTrainer(
        Packed.of(partial(_work, plan, train, placement.cpus, time.time(), messages)),
        scaling_config=ScalingConfig(
            num_workers=elastic or placement.workers,
            use_gpu=placement.gpu,
            resources_per_worker=resources,
            elastic_resize_monitor_interval_s=_RESIZE_S,
        ),
        run_config=run_config,
    )
    try:
        with room_within(try_s):
            return _result(trainer.fit, plan, placement, messages, signals, elastic is not None)
    finally:
        ray.kill(messages)  # a trial's actor lives on, and its handle is in what was packed


def _result(
    fit: Callable[[], object],
    plan: RunPlan,
    placement: Placement,
    messages: Any,
    signals: Signals,
    is_elastic: bool,
) -> dict[str, Any]:
    """Run the group to its end; return what worker 0 returned, or raise `RunError` in words."""
    import ray
    from ray.train.v2.api.exceptions import TrainingFailedError

    crash: Exception | None = None
    try:
        _fit(fit, messages, signals, ClusterView() if is_elastic else None)
    except TrainingFailedError as error:
        crash = error
    failure = ray.get(messages.failure.remote())
    if failure is not None:
        raise RunError(*failure)
    if crash is not None and is_out_of_memory(crash):  # Ray ended a worker to save its node
        raise RunError(*out_of_memory(plan.config, placement.workers)) from crash
    if crash is not None:
        raise RunError(
            f"the workers failed: {_last_line(crash)}",
            f"go on from the last state with run.resume={plan.folder.name}",
        ) from crash
    result: dict[str, Any] | None = ray.get(messages.result.remote())
    assert result is not None, "the workers ended without a result"
    return result


def _work(plan: RunPlan, train: Train, cpus: float, launched_at: float, messages: Any) -> None:
    """Be one Ray Train worker."""
    import ray
    import ray.train.torch

    if ray.get(messages.failure.remote()) is not None:
        return  # started again after a failure that would only repeat
    keep_heap()
    context = ray.train.get_context()
    threads = max(1, int(cpus))
    torch.set_num_threads(threads)
    rank, size = context.get_world_rank(), context.get_world_size()
    asked = plan.config.run.num_workers
    wants_more = rank == 0 and isinstance(asked, tuple) and size < asked[1]
    try:
        with watched(lambda: ray.get(messages.is_stopped.remote()), wants_more=wants_more) as news:
            world = World(
                rank=rank,
                size=size,
                device=ray.train.torch.get_device(),
                threads=threads,
                launched_at=launched_at,
                news=news,
            )
            result = train(plan, world, lambda line: messages.say.remote(line))
    except StoppedError as error:
        ray.get(messages.fail.remote(error.problem, error.hint))
        return
    except MantaError as error:
        ray.get(messages.fail.remote(error.problem, error.hint))
        raise
    except Exception as error:
        # A mistake would only repeat; what a lost peer causes would not.
        told = str(error)
        if not any(word in told for word in _LOST_PEER):
            first = told.splitlines()[0] if told else ""
            hint = "the traceback is in Ray's logs: /tmp/ray/session_latest/logs/train"
            ray.get(messages.fail.remote(f"{type(error).__name__}: {first}", hint))
        raise
    if rank == 0:
        ray.get(messages.finish.remote(result))


def _fit(fit: Callable[[], object], messages: Any, signals: Signals, cluster: ClusterView | None) -> None:
    """Run the group to its end in a thread; meanwhile print its lines, and pass on what it should know.

    The thread is that of Ray Train's controller; this one hears signals.
    """
    import ray

    ended = threading.Event()
    crashes: list[BaseException] = []

    def run() -> None:
        try:
            fit()
        except BaseException as error:
            crashes.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, name="fit", daemon=True).start()
    is_last, is_silent, is_told, warn_at = False, True, False, time.monotonic() + _SLOW_START_S
    while not is_last:
        is_last = ended.wait(_POLL_S)
        for line in ray.get(messages.take.remote()):
            say(line)
            is_silent = False
        if signals.first is not None and not is_told:
            ray.get(messages.stop.remote())
            is_told = True
        if cluster is not None:
            cluster.pass_on()
        if is_silent and time.monotonic() > warn_at:
            say("no worker has started yet: is the cluster busy with other work? (ray status tells)")
            warn_at = float("inf")
    if crashes:
        raise crashes[0]


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
