"""Start the workers of a run: in this process, or as a Ray Train worker group.

result = launch(plan)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lib.cluster import connect, local_device, place
from lib.config.yaml_write import to_yaml
from lib.console import say
from lib.errors import UserError
from lib.files import write_text
from lib.train.finish import finish, read_result
from lib.train.group import run_on_ray
from lib.train.loop import Trainer
from lib.train.plan import RunPlan
from lib.train.resume import CONFIG, claim
from lib.train.world import World


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
        return run_on_ray(plan, placement, train)


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
    try:
        trainer.run()
        return finish(trainer)
    finally:
        trainer.inputs.close()
