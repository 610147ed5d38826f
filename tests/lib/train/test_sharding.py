"""Networks that two workers share out: the same steps, the same state on the disk, the same bundle."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.distributed.tensor import DTensor
from torch.optim import SGD

from lib.bundle import read_bundle
from lib.config.optimisation import OptimSection
from lib.config.schema import FinetuneConfig
from lib.data.order import share
from lib.errors import UserError
from lib.models.build import build_model
from lib.predict.predictor import Predictor
from lib.train.finish import finish
from lib.train.loop import Trainer
from lib.train.losses import Objective
from lib.train.optim import build_optimizer
from lib.train.plan import RunPlan, plan_run
from lib.train.recompute import recompute_blocks
from lib.train.sharding import gathered, shard_blocks, shard_paths
from lib.train.state import RunState, load_best, load_state
from lib.train.step import StepSettings, train_step
from lib.train.world import World
from tests.lib.train.test_loop import StopHere, run_plan

Make = Callable[..., FinetuneConfig]
CLASSES = 5
# What is compared with the step of one process; batch statistics are those of a share, so with DDP's.
ALONE: dict[str, dict[str, Any]] = {
    "plain": {},
    "sgd": {"optimizer": "sgd", "objective": Objective("focal", label_smoothing=0.1)},
    "clipped": {"accumulate": 3, "gradient_clip": 0.05},
    "scaled": {"is_scaled": True, "gradient_clip": 0.05},
}
WITH_DDP: dict[str, dict[str, Any]] = {
    "bf16": {"precision": "bf16", "gradient_clip": 0.05},
    "recomputed": {"is_recomputed": True, "accumulate": 2},
    "resnet8": {"name": "resnet8"},
}


class Block(nn.Module):
    """A residual block whose middle has a single row, so that the second worker has none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm = nn.Conv2d(4, 1, 3, padding=1, bias=False), nn.GroupNorm(1, 1)
        self.up = nn.Conv2d(1, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(self.norm(self.down(x)).relu())


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        nn.GroupNorm(2, 4),
        Block(),
        Block(),
        nn.Flatten(),
        nn.Linear(144, CLASSES),
    )


def steps(
    world: World,
    *,
    is_sharded: bool = False,
    name: str = "",
    optimizer: str = "adamw",
    is_scaled: bool = False,
    is_recomputed: bool = False,
    **settings: Any,
) -> dict[str, Tensor]:
    """Take two steps, of an even and an odd batch; return the weights, and the state of the optimizer."""
    torch.manual_seed(0)
    model = build_model(name, CLASSES, channels=1, image_size=32) if name else network()
    if is_recomputed:
        recompute_blocks(model)
    if is_sharded:
        shard_blocks([model], world)
        assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    wrapped = world.wrap(model)
    assert (wrapped is model) == (is_sharded or world.size == 1)
    chosen = build_optimizer(model, OptimSection.model_validate({"name": optimizer, "lr": 0.01}))
    scaler = GradScaler("cpu", init_scale=64.0, enabled=is_scaled)
    random = torch.Generator().manual_seed(1)
    for size in (12, 13):
        images = torch.randn(size, 1, *(32, 32) if name else (8, 8), generator=random)
        labels = torch.randint(CLASSES, (size,), generator=random)
        start, stop = share(0, size, world.rank, world.size)
        torch.manual_seed(2 + world.rank)  # of dropout
        train_step(
            wrapped,
            chosen,
            scaler,
            images[start:stop],
            labels[start:stop],
            global_count=size,
            settings=StepSettings(world_size=world.size, **settings),
        )
    world.agree_on_buffers(model)
    state = gathered(chosen.state_dict())["state"]
    moments = {f"{number}.{key}": value for number, of in state.items() for key, value in of.items()}
    return {**gathered(model.state_dict()), **moments}


def overflow(world: World) -> None:
    """Leave out a step if a gradient is infinite in the rows of one worker alone."""
    model = network()
    shard_blocks([model], world)
    optimizer, scaler = SGD(model.parameters(), lr=0.5), GradScaler("cpu", init_scale=4.0)
    before = gathered(model.state_dict())
    torch.autograd.backward(scaler.scale(model(torch.randn(2, 1, 8, 8)).sum()))
    if world.rank == 1:
        model.get_parameter("5.weight").grad.to_local().fill_(torch.inf)
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0
    after = gathered(model.state_dict())
    assert world.rank > 0 or all(torch.equal(after[name], value) for name, value in before.items())


def check(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, value in found.items():
        assert not isinstance(value, DTensor)
        assert torch.allclose(value, expected[name], atol=1e-6), name


def work(rank: int, size: int, folder: str, begun: RunPlan, plans: list[RunPlan]) -> None:
    dist.init_process_group("gloo", f"file://{folder}/store", timedelta(seconds=60), size, rank)
    torch.set_num_threads(1)
    world = World(rank, size, threads=1)
    found = {name: steps(world, is_sharded=True, **case) for name, case in (ALONE | WITH_DDP).items()}
    expected = {name: steps(world, **case) for name, case in WITH_DDP.items()}
    if rank == 0:
        for name in WITH_DDP:
            check(found[name], expected[name])
        torch.save({name: found[name] for name in ALONE}, f"{folder}/found.pt")
    overflow(world)
    straight, sharded, killed = plans
    train(straight, world)
    trainer = train(sharded, world)
    kept = sum(p.to_local().numel() for p in trainer.model.parameters())
    whole = sum(p.numel() for p in trainer.model.parameters())
    assert kept < 0.51 * whole
    finish(trainer)
    train(killed, world, stop_at=(1, 1))
    train(begun, world)
    dist.destroy_process_group()


def train(plan: RunPlan, world: World, stop_at: tuple[int, int] | None = None) -> Trainer:
    """Train; with an epoch and a step, leave without a word there."""
    trainer = Trainer(plan, world, lambda _: None)
    step = trainer._step

    def stopping(*args: object) -> object:
        if (trainer.state.epoch, trainer.state.step) == stop_at:
            raise StopHere
        return step(*args)

    trainer._step = stopping
    with suppress(StopHere):
        trainer.run()
    trainer.writer.wait()
    world.wait()
    return trainer


def state_of(plan: RunPlan) -> RunState:
    state = load_state(plan.state_folder)
    assert state is not None
    return state


def check_state(found: RunState, expected: RunState) -> None:
    check(found.model, expected.model)
    check(found.ema["model"], expected.ema["model"])
    assert found.ema["updates"] == expected.ema["updates"] == 4
    assert found.optimizer["param_groups"] == expected.optimizer["param_groups"]
    for number, values in expected.optimizer["state"].items():
        check(found.optimizer["state"][number], values)
    for one, two in zip(found.history, expected.history, strict=True):
        assert one["val"]["accuracy"] == two["val"]["accuracy"]
        assert one["val"]["loss"] == pytest.approx(two["val"]["loss"], abs=1e-6)
        assert one["train"]["loss"] == pytest.approx(two["train"]["loss"], abs=1e-6)


@pytest.mark.integration
def test_workers_that_share_out_a_network_do_what_one_does(small: Make, tmp_path: Path) -> None:
    def plan(name: str, shard: str = "full") -> RunPlan:
        config = small(
            train__epochs=2,
            train__freeze="gradual",  # the head alone in the first epoch, all in the second
            train__gradient_clip=0.5,
            train__accumulate=2,
            train__ema_decay=0.9,
            train__checkpoint_every_steps=1,
            train__shard=shard,
            run__num_workers=2,
            run__name=name,
        )
        found = plan_run(config)
        found.folder.mkdir(parents=True)
        return found

    straight, sharded, killed, begun = (
        plan("straight", "none"),
        plan("sharded"),
        plan("killed"),
        plan("begun"),
    )
    run_plan(begun, stop_after_steps=3)  # one process has nobody to share with
    mp.spawn(work, (2, str(tmp_path), begun, [straight, sharded, killed]), nprocs=2)
    steps_found = torch.load(tmp_path / "found.pt", weights_only=True)
    for name, case in ALONE.items():
        check(steps_found[name], steps(World(), **case | {"accumulate": 1}))
    halfway = state_of(killed)
    assert (halfway.epoch, halfway.step) == (1, 1)
    run_plan(killed)
    for plan_of_run in (sharded, killed, begun):
        check_state(state_of(plan_of_run), state_of(straight))
    bundle = read_bundle(sharded.folder / "bundle")
    Predictor(bundle.path).golden_check()
    best = load_best(sharded.state_folder, state_of(sharded).best_epoch)
    check(bundle.build_model().state_dict(), best)


def test_blocks_and_large_layers_are_gathered_in_turn() -> None:
    assert shard_paths(network()) == ["0", "2", "3", "5"]


def with_temperature(num_classes: int, channels: int, image_size: int) -> nn.Module:
    model = build_model("lenet5", num_classes, channels=channels, image_size=image_size)
    model.temperature = nn.Parameter(torch.tensor(1.0))
    return model


def test_a_parameter_without_rows_is_refused_before_the_start(small: Make) -> None:
    name = f"{__name__}:with_temperature"
    with pytest.raises(UserError, match=r"shares out rows, and temperature of .* is a single number"):
        plan_run(small(model__name=name, train__shard="full", run__num_workers=2))
