"""One step of a global batch is the same however it is split: over workers, into pieces, or not at all."""

import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import SGD

from lib.data.order import share
from lib.train.losses import Objective
from lib.train.step import StepSettings, train_step
from lib.train.world import World

CLASSES = 5
# Global batches: uneven shares at 2 and 4 workers, and a short last one that leaves a worker a single image.
SIZES = (13, 13, 5)
WEIGHTS = torch.tensor([0.25, 1.0, 1.0, 2.0, 4.0])
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "smoothed": {"objective": Objective(label_smoothing=0.1)},
    "weighted": {"objective": Objective(class_weights=WEIGHTS)},
    "focal": {"objective": Objective("focal", label_smoothing=0.1, class_weights=WEIGHTS)},
    "mixed": {"objective": Objective(class_weights=WEIGHTS), "is_mixed": True},
    "accumulated": {"objective": Objective("focal"), "accumulate": 3, "gradient_clip": 0.05},
}


def network() -> nn.Module:
    """Without batch statistics, which are those of a share."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.Flatten(), nn.Linear(144, CLASSES)
    )


def batches(is_mixed: bool) -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(1)
    found = []
    for size in SIZES:
        labels = torch.randint(CLASSES, (size,), generator=random)
        soft = torch.rand(size, CLASSES, generator=random).softmax(1)
        found.append((torch.randn(size, 1, 8, 8, generator=random), soft if is_mixed else labels))
    return found


def run_case(world: World, *, is_mixed: bool = False, **settings: Any) -> list[dict[str, Any]]:
    """Take a step per batch; return loss, correct answers, gradients and weights of each, of all workers."""
    model = network()
    wrapped = world.wrap(model)
    optimizer, scaler = SGD(model.parameters(), lr=0.5), GradScaler("cpu", enabled=False)
    done = []
    for images, targets in batches(is_mixed):
        start, stop = share(0, len(images), world.rank, world.size)
        loss, correct, _ = train_step(
            wrapped,
            optimizer,
            scaler,
            images[start:stop],
            targets[start:stop],
            global_count=len(images),
            settings=StepSettings(world_size=world.size, **settings),
        )
        sums = world.sum(torch.stack([loss.double(), correct.double()]))
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        weights = copy.deepcopy(model.state_dict())
        done.append({"loss": sums[0], "correct": sums[1], "gradients": gradients, "weights": weights})
    return done


def work(rank: int, size: int, folder: str) -> None:
    dist.init_process_group("gloo", f"file://{folder}/store{size}", timedelta(seconds=60), size, rank)
    torch.set_num_threads(1)
    results = {name: run_case(World(rank, size, threads=1), **case) for name, case in CASES.items()}
    if rank == 0:
        torch.save(results, f"{folder}/{size}.pt")
    dist.barrier()
    dist.destroy_process_group()


def check(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    for step, other in zip(found, expected, strict=True):
        assert step["loss"].item() == pytest.approx(other["loss"].item(), abs=1e-5, rel=1e-6)
        assert step["correct"] == other["correct"]
        for one, two in zip(step["gradients"], other["gradients"], strict=True):
            assert torch.allclose(one, two, atol=1e-6)
        for name, value in step["weights"].items():
            assert torch.allclose(value, other["weights"][name], atol=1e-6), name


@pytest.mark.integration
@pytest.mark.parametrize("size", [2, 4])
def test_workers_take_the_step_of_one(size: int, tmp_path: Path) -> None:
    mp.spawn(work, (size, str(tmp_path)), nprocs=size)
    results = torch.load(tmp_path / f"{size}.pt", weights_only=True)
    for name, case in CASES.items():
        check(results[name], run_case(World(), **case | {"accumulate": 1}))


@pytest.mark.parametrize("name", CASES)
def test_pieces_take_the_step_of_one(name: str) -> None:
    check(run_case(World(), **CASES[name] | {"accumulate": 4}), run_case(World(), **CASES[name]))
