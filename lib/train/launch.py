"""Start the workers of a run: in this process, or as a Ray Train worker group.

result = launch(plan)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lib.cluster import Placement, connect, local_device, place
from lib.config.yaml_write import to_yaml
from lib.console import identify, say
from lib.errors import MantaError, UserError
from lib.files import write_text
from lib.train.determinism import deterministic
from lib.train.failures import explained
from lib.train.finish import finish, read_result
from lib.train.group import run_on_ray
from lib.train.loop import Trainer
from lib.train.plan import RunPlan
from lib.train.precision import precision_hint
from lib.train.resume import CONFIG, claim
from lib.train.shared import check_shared
from lib.train.signals import heeded_signals
from lib.train.telemetry import open_telemetry
from lib.train.world import World


def launch(plan: RunPlan) -> dict[str, Any]:
    """Train, measure and write the bundle of a plan; return the content of its `result.json`.

    What cannot start leaves no folder. Raises `UserError` for that, and `RunError` if the run cannot go on.
    """
    identify(run=plan.folder.name)
    result = read_result(plan.folder)
    if result is not None:
        say(f"the run {plan.folder.name} had finished")
        return result
    run = plan.config.run
    if run.num_workers == 0:
        device = torch.device(local_device(run.use_gpu))
        with begin(plan), heeded_signals() as signals:
            return train(plan, World(device=device, news=signals.news), say)
    connect()
    elastic = run.num_workers if isinstance(run.num_workers, tuple) else None
    placement = place("auto" if isinstance(run.num_workers, tuple) else run.num_workers, run.use_gpu)
    _check_shares(plan, elastic[1] if elastic else placement.workers)
    _check_sync(plan, placement)
    _check_shard(plan, placement)
    with begin(plan):
        check_shared(plan)
        cores = f"{placement.cpus:g} core{'s' * (placement.cpus != 1)} each"
        told = f"{elastic[0]} to {elastic[1]}" if elastic else f"{placement.workers}"
        say(f"starting {told} worker{'s' * (told != '1')}, {cores}")
        with heeded_signals() as signals:
            return run_on_ray(plan, placement, train, signals)


@contextmanager
def begin(plan: RunPlan, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the run folder, for which it may wait, and keep the configuration in it."""
    with claim(plan.folder, wait_s=wait_s):
        run = plan.config.run.model_copy(update={"resume": None})
        write_text(plan.folder / CONFIG, to_yaml(plan.config.model_copy(update={"run": run})))
        yield


def _check_shares(plan: RunPlan, workers: int) -> None:
    """Refuse to start workers of which one would have no image in a step."""
    smallest = min(plan.num_images // stage.steps for stage in plan.stages)
    if smallest < workers:
        problem = f"{workers} workers would share batches of {smallest} images"
        raise UserError(problem, f"set run.num_workers={smallest} or less, or a larger train.batch_size")


def _check_sync(plan: RunPlan, placement: Placement) -> None:
    """Refuse batch normalisation over workers where torch has none."""
    if plan.config.train.sync_batchnorm and not placement.gpu:
        hint = "leave it out: on CPUs each worker keeps the statistics of its own images"
        raise UserError("train.sync_batchnorm needs GPUs: torch has no SyncBatchNorm for CPUs", hint)
    if plan.config.train.sync_batchnorm and placement.workers == 1 and plan.config.run.most_workers is None:
        raise UserError("train.sync_batchnorm has no effect with one worker", "leave it out")


def _check_shard(plan: RunPlan, placement: Placement) -> None:
    """Refuse to share out a network among one."""
    shard = plan.config.train.shard
    if shard != "none" and placement.workers == 1 and plan.config.run.most_workers is None:
        raise UserError(f"train.shard={shard} has no effect with one worker", "leave it out")


def train(plan: RunPlan, world: World, say_line: Callable[[str], None]) -> dict[str, Any]:
    """Run one worker from its state to the result.

    Raises `RunError` if it cannot go on, with what to change.
    """
    with open_telemetry(plan, world, say_line) as telemetry, explained(plan.config, world.size):
        trainer = Trainer(plan, world, say_line, telemetry)
        hint = precision_hint(plan.config.train.precision, world.device, plan.preprocess.image_size)
        if hint is not None:
            trainer.say(hint)
        try:
            with deterministic(plan.config.run.deterministic):
                trainer.run()
            trainer.writer.wait()
            result = finish(trainer)
            trainer.tracker.update(trainer.state.history)  # after a restart there may be no epoch left
            trainer.tracker.close(result["metrics"])
            return result
        except MantaError:  # a restart would not help: what else fails is tried again
            trainer.tracker.close(None)
            raise
        finally:
            trainer.writer.join()
            trainer.inputs.close()
