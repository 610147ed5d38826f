"""Every schedule, policy and mix in real runs of a few steps, each checked for what it claims."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from lib.config.augmentation import Mix
from lib.config.optimisation import Schedule
from lib.config.schema import FinetuneConfig
from lib.data.order import sample_seeds
from lib.images.augment import POLICIES, train_transform
from lib.train import loop
from lib.train.loop import Trainer
from lib.train.plan import RunPlan, plan_run
from lib.train.schedules import learning_rate
from lib.train.world import World

Make = Callable[..., FinetuneConfig]

# At this rate validation barely moves, so that plateau acts.
LR = 1e-9
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {},
    "step": {"step_epochs": 2, "step_factor": 0.1},
    "cosine": {"min_lr": LR / 10},
    "warm_restarts": {"min_lr": LR / 10, "restart_epochs": 1},
    "plateau": {"min_lr": LR / 10, "plateau_patience": 0, "step_factor": 0.3},
    "one_cycle": {"min_lr": LR / 10},
}


@dataclass
class Step:
    """What one step of a run had."""

    epoch: int
    step: int
    pixels: Tensor
    ids: list[int]
    rates: list[float]
    targets: Tensor


def watch(plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> tuple[Trainer, list[Step]]:
    """Train a plan in this process; return what each step had."""
    trainer = Trainer(plan, World(threads=2), lambda _: None)
    steps: list[Step] = []
    targets: list[Tensor] = []
    real_step, real_train_step = trainer._step, loop.train_step

    def watched(model: Any, batch: Any, images: int) -> Any:
        result = real_step(model, batch, images)
        rates = [group["lr"] for group in trainer.optimizer.param_groups]
        place = trainer.state.epoch, trainer.state.step
        steps.append(Step(*place, batch.pixels.clone(), batch.ids.tolist(), rates, targets.pop()))
        return result

    def watched_train_step(*args: Any, **kwargs: Any) -> Any:
        targets.append(args[4].clone())
        return real_train_step(*args, **kwargs)

    monkeypatch.setattr(trainer, "_step", watched)
    monkeypatch.setattr(loop, "train_step", watched_train_step)
    trainer.run()
    return trainer, steps


def history(plan: RunPlan) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (plan.folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_a_schedule_sets_the_rate_of_every_group_at_every_step(
    small: Make, monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    options = {"schedule": schedule, "lr": LR, "warmup_epochs": 1, "layer_decay": 0.5, **SCHEDULES[schedule]}
    stage = [{"until_epoch": 2, "image_size": 32, "lr_factor": 4.0, "batch_size": 10}]
    changes = {f"optim__{name}": value for name, value in options.items()}
    plan = plan_run(small(**changes, train__epochs=5, train__resize=stage))
    trainer, steps = watch(plan, monkeypatch)
    assert [(s.epoch, s.step) for s in steps] == [
        (epoch, step) for epoch in range(5) for step in range(4 if epoch < 2 else 2)
    ]
    losses = [epoch["val"]["loss"] for epoch in history(plan)]
    rates = []
    for s in steps:
        at = s.epoch + s.step / (4 if s.epoch < 2 else 2)
        rates.append(learning_rate(plan.config.optim, 5, at, losses[: s.epoch]))
        factor = 4.0 if s.epoch < 2 else 1.0
        depths = [group["lr_scale"] for group in trainer.optimizer.param_groups]
        assert s.rates == pytest.approx([rates[-1] * factor * scale for scale in depths], rel=1e-12)
    assert min(depths) == 0.5 ** len({*depths} - {1.0})
    assert max(depths) == 1
    after = rates[4:]  # the warm-up is over
    assert {
        "constant": len(set(after)) == 1,
        "step": sorted({*after}, reverse=True) == pytest.approx([LR, LR / 10]),
        "cosine": after == sorted(after, reverse=True) and after[0] > after[-1],
        "warm_restarts": sum(a < b for a, b in pairwise(after)) == 2,
        "plateau": after[0] > after[-1] >= LR / 10,
        "one_cycle": after[0] < max(after) > after[-1],
    }[schedule]
    drawn = dict(trainer.state.rates)
    assert drawn[0.5] == pytest.approx(steps[2].rates[-1])
    assert [epoch["lr"] for epoch in history(plan)] == [
        pytest.approx(s.rates[-1]) for s in steps if (s.epoch < 2, s.step) in ((True, 3), (False, 1))
    ]


def policy_name(policy: str, folder: Path) -> str:
    """Complete a policy from outside; both of these invert."""
    if policy == "albumentations":
        transform = {"__class_fullname__": "InvertImg", "p": 1.0}
        (folder / "invert.json").write_text(json.dumps({"__version__": "2.0.8", "transform": transform}))
        return f"albumentations:{folder / 'invert.json'}"
    if policy == "own":
        code = (
            "from torchvision.transforms import v2\n\n\ndef build(spec):\n    return [v2.RandomInvert(1)]\n"
        )
        (folder / "inverting_policy.py").write_text(code)
        return "inverting_policy:build"
    return policy


def is_moved(pixels: Tensor, plain: Tensor) -> bool:
    """Tell whether uint8 [1, 32, 32] is the same picture, up to four pixels aside, over black."""
    padded = torch.nn.functional.pad(plain, [4] * 4)
    return any(
        torch.equal(padded[:, top : top + 32, left : left + 32], pixels)
        for top in range(9)
        for left in range(9)
    )


@pytest.mark.parametrize("policy", ["none", *POLICIES, "albumentations", "own"])
def test_a_policy_is_what_the_network_sees(
    small: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, policy: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "inverting_policy", raising=False)
    name = policy_name(policy, tmp_path)
    plan = plan_run(small(augment__policy=name, train__epochs=2))
    trainer, steps = watch(plan, monkeypatch)
    assert len(steps) == 4
    samples = plan.dataset.samples("train")
    transforms = {
        kind: train_transform(kind, plan.preprocess) for kind in {name, "none", "light", "standard"}
    }
    kinds = set()
    for s in steps:
        for sample, pixels in zip(s.ids, s.pixels, strict=True):
            seed = sample_seeds(np.array([sample]), 0, s.epoch)[0]
            made = {kind: make(samples.read(sample), seed) for kind, make in transforms.items()}
            assert torch.equal(pixels, made[name])
            if policy == "none":
                assert torch.equal(pixels, made["none"])
            elif policy == "light":
                assert is_moved(pixels, made["none"])
            elif policy == "standard":
                mirrored = is_moved(pixels.flip(-1), made["none"])
                assert mirrored or is_moved(pixels, made["none"])
                kinds.add(mirrored)
            elif policy in ("albumentations", "own"):
                assert torch.equal(pixels, 255 - made["light"])
            else:
                kinds.add(torch.equal(pixels, made["standard"]))
    # Half of the pictures are mirrored; the other policies change some pictures beyond crop and flip.
    assert policy != "standard" or kinds == {True, False}
    assert policy in ("none", "light", "standard", "albumentations", "own") or False in kinds
    for epoch in range(2):
        assert sorted(sample for s in steps if s.epoch == epoch for sample in s.ids) == list(range(40))
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


@pytest.mark.parametrize("mix", get_args(Mix))
def test_a_mix_gives_soft_targets_that_sum_to_one(
    small: Make, monkeypatch: pytest.MonkeyPatch, mix: str
) -> None:
    plan = plan_run(small(augment__mix=mix, train__epochs=3))
    _, steps = watch(plan, monkeypatch)
    labels = plan.dataset.samples("train").labels()
    softness = []
    for s in steps:
        own = torch.nn.functional.one_hot(torch.from_numpy(labels[s.ids]).long(), 10).float()
        if mix == "none":
            assert torch.equal(s.targets, torch.from_numpy(labels[s.ids]).long())
            continue
        torch.testing.assert_close(s.targets.sum(1), torch.ones(20))
        assert (s.targets >= 0).all()
        # Each row is its own label and that of the picture before it, in the same shares.
        other = own.roll(1, 0)
        share = float(s.targets[0, labels[s.ids[0]]]) if not torch.equal(own[0], other[0]) else None
        if share is not None:
            torch.testing.assert_close(s.targets, share * own + (1 - share) * other)
            softness.append(share)
    assert mix == "none" or len({round(share, 6) for share in softness}) > 1
    assert all(np.isfinite(epoch["train"]["loss"]) for epoch in history(plan))
