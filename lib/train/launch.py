"""Start the workers of a run: in this process, or as a Ray Train worker group that survives lost workers.

    result = launch(plan)

Workers talk to the terminal of the driver through a small actor: Ray's own forwarding prefixes every line
and mixes in its internals.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from lib.cluster import Placement, connect, local_device, place
from lib.config.yaml_write import to_yaml
from lib.console import say
from lib.errors import MantaError, RunError, UserError
from lib.files import write_text
from lib.runtime import ENVIRONMENT, keep_heap
from lib.train.finish import finish, read_result
from lib.train.loop import Trainer
from lib.train.plan import RunPlan
from lib.train.resume import CONFIG, claim
from lib.train.world import World

_POLL_S = 0.3
_SLOW_START_S = 90.0
# How often Ray may try, a minute each, to find room for the workers.
_MAX_PLACEMENTS = 10
# What a worker says whose peer has died: the run goes on with new ones.
_LOST_PEER = ("gloo", "NCCL", "Connection", "Socket")


def launch(plan: RunPlan) -> dict[str, Any]:
    """Train, measure and write the bundle of a plan; return the content of its `result.json`.

    What cannot start leaves no folder. Raises `UserError` for that, and `RunError` if the run cannot go on.
    """
    result = read_result(plan.folder)
    if result is not None:
        say(f"the run {plan.folder.name} had finished")
        return result
    run = plan.config.run
    if run.num_workers == 0:
        world = World(device=torch.device(local_device(run.use_gpu)))
        with _begin(plan):
            return train(plan, world, say)
    connect()
    placement = place(run.num_workers, run.use_gpu)
    _check_shares(plan, placement.workers)
    with _begin(plan):
        cores = f"{placement.cpus:g} core{'s' * (placement.cpus != 1)} each"
        say(f"starting {placement.workers} worker{'s' * (placement.workers > 1)}, {cores}")
        return _launch_on_ray(plan, placement)


@contextmanager
def _begin(plan: RunPlan) -> Iterator[None]:
    """Hold the run folder and keep the configuration in it."""
    with claim(plan.folder):
        run = plan.config.run.model_copy(update={"resume": None})
        write_text(plan.folder / CONFIG, to_yaml(plan.config.model_copy(update={"run": run})))
        yield


def _check_shares(plan: RunPlan, workers: int) -> None:
    """Refuse to start workers of which one would have no image in a step."""
    smallest = sum(plan.counts) // plan.steps
    if smallest < workers:
        problem = f"{workers} workers would share batches of {smallest} images"
        raise UserError(problem, f"set run.num_workers={smallest} or less, or a larger train.batch_size")


def train(plan: RunPlan, world: World, say_line: Callable[[str], None]) -> dict[str, Any]:
    """Run one worker from its state to the result."""
    trainer = Trainer(plan, world, say_line)
    trainer.run()
    return finish(trainer)


class Messages:
    """Lines from the workers, the result, and a failure that a restart would only repeat."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._failure: tuple[str, str] | None = None
        self._result: dict[str, Any] | None = None

    def say(self, line: str) -> None:
        """Keep a line for the driver."""
        self._lines.append(line)

    def take(self) -> list[str]:
        """Return the lines since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def fail(self, problem: str, hint: str) -> None:
        """Keep the first failure."""
        self._failure = self._failure or (problem, hint)

    def failure(self) -> tuple[str, str] | None:
        """Return the failure, if there is one."""
        return self._failure

    def finish(self, result: dict[str, Any]) -> None:
        """Keep the result."""
        self._result = result

    def result(self) -> dict[str, Any] | None:
        """Return the result, if the run has finished."""
        return self._result


def _launch_on_ray(plan: RunPlan, placement: Placement) -> dict[str, Any]:
    import ray
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.exceptions import TrainingFailedError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # On this node: if it were lost with another one, no worker could be started again.
    here: Any = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    messages: Any = ray.remote(num_cpus=0, scheduling_strategy=here)(Messages).remote()
    run_config: Any = RunConfig(  # Ray types the trainer with the old class of this name
        name="ray",
        storage_path=str(plan.state_folder),
        failure_config=FailureConfig(
            max_failures=plan.config.run.max_failures, controller_failure_limit=_MAX_PLACEMENTS
        ),
        worker_runtime_env={"env_vars": ENVIRONMENT},
        logging_config=LoggingConfig(log_level="ERROR"),
    )
    resources = {"CPU": placement.cpus} | ({"GPU": 1.0} if placement.gpu else {})
    trainer = TorchTrainer(
        partial(_work, messages=messages, cpus=placement.cpus),
        train_loop_config={"plan": plan},
        scaling_config=ScalingConfig(
            num_workers=placement.workers, use_gpu=placement.gpu, resources_per_worker=resources
        ),
        run_config=run_config,
    )
    ended = threading.Event()
    reader = threading.Thread(target=_read_lines, args=(messages, ended), daemon=True)
    reader.start()
    crash: Exception | None = None
    try:
        trainer.fit()
    except TrainingFailedError as error:
        crash = error
    finally:
        ended.set()
        reader.join()
    failure = ray.get(messages.failure.remote())
    if failure is not None:
        raise RunError(*failure)
    if crash is not None:
        raise RunError(
            f"the workers failed: {_last_line(crash)}",
            f"go on from the last state with run.resume={plan.folder.name}",
        ) from crash
    result: dict[str, Any] | None = ray.get(messages.result.remote())
    assert result is not None, "the workers ended without a result"
    return result


def _work(config: dict[str, Any], *, messages: Any, cpus: float) -> None:
    """Be one Ray Train worker."""
    import ray
    import ray.train.torch

    if ray.get(messages.failure.remote()) is not None:
        return  # started again after a failure that would only repeat
    keep_heap()
    context = ray.train.get_context()
    threads = max(1, int(cpus))
    torch.set_num_threads(threads)
    world = World(
        rank=context.get_world_rank(),
        size=context.get_world_size(),
        device=ray.train.torch.get_device(),
        threads=threads,
    )
    try:
        result = train(config["plan"], world, lambda line: messages.say.remote(line))
    except MantaError as error:
        ray.get(messages.fail.remote(error.problem, error.hint))
        raise
    except Exception as error:
        # A mistake would only repeat; what a lost peer causes would not.
        told = str(error)
        if not any(word in told for word in _LOST_PEER):
            first = told.splitlines()[0] if told else ""
            ray.get(messages.fail.remote(f"{type(error).__name__}: {first}", _hint(error)))
        raise
    if world.rank == 0:
        ray.get(messages.finish.remote(result))


def _read_lines(messages: Any, ended: threading.Event) -> None:
    """Print the workers' lines until the run has ended; say so if they are slow to start."""
    import ray

    is_last, is_silent, warn_at = False, True, time.monotonic() + _SLOW_START_S
    while not is_last:
        is_last = ended.wait(_POLL_S)
        for line in ray.get(messages.take.remote()):
            say(line)
            is_silent = False
        if is_silent and time.monotonic() > warn_at:
            say("no worker has started yet: is the cluster busy with other work? (ray status tells)")
            warn_at = float("inf")


def _hint(error: Exception) -> str:
    if (
        "out of memory" in str(error)
        or "can't allocate memory" in str(error)
        or isinstance(error, MemoryError)
    ):
        return "lower train.batch_size, or use more workers"
    return "the traceback is in Ray's logs: /tmp/ray/session_latest/logs"


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
