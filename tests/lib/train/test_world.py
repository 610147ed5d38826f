"""Several workers in a real process group: sums, tables, and a run that is killed among three of them."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from lib.config.schema import FinetuneConfig
from lib.metrics import Outcomes
from lib.train.loop import Trainer
from lib.train.plan import RunPlan, plan_run
from lib.train.state import load_state
from lib.train.trace import read_trace
from lib.train.world import World

Make = Callable[..., FinetuneConfig]


def outcomes(rank: int) -> Outcomes:
    ids = np.array([rank, rank + 10])
    nothing = np.zeros(2, np.float32)
    return Outcomes(ids, ids % 2, ids[:, None] % 2, np.ones((2, 1), np.float32), nothing, nothing)


def collectives(rank: int, size: int, file: str) -> None:
    dist.init_process_group("gloo", f"file://{file}", timedelta(seconds=60), size, rank)
    world = World(rank, size, threads=1)
    assert world.sum(torch.tensor([rank, 1])).tolist() == [sum(range(size)), size]
    gathered = Outcomes.concat(world.gather(outcomes(rank)))
    assert gathered.ids.tolist() == [*range(size), *range(10, 10 + size)]
    assert world.from_first(rank + 7) == 7
    arriving = world.send(rank + 5)
    assert world.sum(torch.tensor(1)).item() == size  # other work goes on beside it
    assert arriving() == 5
    model = torch.nn.BatchNorm1d(2)
    model.running_mean.fill_(float(rank))
    world.agree_on_buffers(model)
    assert model.running_mean.tolist() == [0, 0]
    world.wait()
    dist.destroy_process_group()


def train(rank: int, size: int, file: str, plan: RunPlan, stop_at: int) -> None:
    """Train as one of several workers, and leave without a word at a step of the first epoch."""
    dist.init_process_group("gloo", f"file://{file}", timedelta(seconds=60), size, rank)
    torch.set_num_threads(1)
    trainer = Trainer(plan, World(rank, size, threads=1), lambda _: None)
    step = trainer._step

    def counted(*args: object) -> object:
        if trainer.state.step == stop_at:
            raise SystemExit
        return step(*args)

    trainer._step = counted
    trainer.run()
    world_ended = trainer.state.epoch == plan.config.train.epochs
    assert world_ended
    dist.destroy_process_group()


def train_in_stages(rank: int, size: int, file: str, plan: RunPlan) -> None:
    """Train, and find every worker at the same rate in every step."""
    dist.init_process_group("gloo", f"file://{file}", timedelta(seconds=60), size, rank)
    torch.set_num_threads(1)
    world = World(rank, size, threads=1)
    trainer = Trainer(plan, world, lambda _: None)
    step, rates = trainer._step, []

    def watched(*args: object) -> object:
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        return step(*args)

    trainer._step = watched
    trainer.run()
    gathered = world.gather(rates)
    assert gathered == [rates] * size
    assert len(set(rates[2:])) == 3, rates  # plateau has acted twice after the stage
    dist.destroy_process_group()


def spawn(function: Callable[..., None], size: int, file: Path, *args: object) -> None:
    file.unlink(missing_ok=True)
    mp.spawn(function, (size, str(file), *args), nprocs=size)


@pytest.mark.integration
def test_workers_add_up_gather_and_agree(tmp_path: Path) -> None:
    spawn(collectives, 3, tmp_path / "store")


@pytest.mark.integration
def test_three_workers_that_are_killed_end_with_the_same_bits(finetune_config: Make, tmp_path: Path) -> None:
    # With three, the order of a sum depends on the layout of the reducer's buckets.
    common = {"model__name": "resnet8", "train__batch_size": 96, "train__checkpoint_every_steps": 4}
    straight = plan_run(finetune_config(**common, run__name="straight"))
    killed = plan_run(finetune_config(**common, run__name="killed"))
    straight.folder.mkdir(parents=True)
    killed.folder.mkdir(parents=True)
    spawn(train, 3, tmp_path / "store", straight, -1)
    spawn(train, 3, tmp_path / "store", killed, 6)
    halfway = load_state(killed.state_folder)
    assert halfway is not None
    assert (halfway.epoch, halfway.step) == (0, 4)
    spawn(train, 3, tmp_path / "store", killed, -1)
    states = [load_state(plan.state_folder) for plan in (straight, killed)]
    assert states[0] is not None
    assert states[1] is not None
    for name, tensor in states[0].model.items():
        assert torch.equal(tensor, states[1].model[name]), name


@pytest.mark.integration
def test_workers_agree_on_stages_and_on_what_plateau_does(small: Make, tmp_path: Path) -> None:
    plan = plan_run(
        small(
            model__name="resnet8",
            train__epochs=4,
            train__resize=[{"until_epoch": 1, "image_size": 16, "batch_size": 24, "lr_factor": 2.0}],
            optim__schedule="plateau",
            optim__plateau_patience=0,
            optim__lr=1e-9,  # so that validation never gets better
            optim__min_lr=0.0,
            run__trace=True,
        )
    )
    plan.folder.mkdir(parents=True)
    spawn(train_in_stages, 2, tmp_path / "store", plan)
    used = read_trace(plan.folder / "trace")
    assert [len(used[0, step]) for step in range(2)] == [20, 20]
    samples = plan.dataset.samples("train")
    for epoch in range(4):
        keys = [key for (e, _), found in used.items() if e == epoch for key in found]
        assert sorted(keys) == sorted(samples.keys(range(40)))
