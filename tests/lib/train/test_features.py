"""Runs on features that are computed once, held against runs that compute them in every step."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from lib.config.schema import FinetuneConfig
from lib.data.feature_store import features_folder
from lib.data.feature_table import FeatureTable
from lib.errors import RunError, UserError
from lib.train.features import FeaturePlan
from lib.train.launch import train
from lib.train.loop import Trainer
from lib.train.plan import RunPlan, plan_run
from lib.train.state import load_state
from lib.train.world import World
from tests.lib.train.test_world import spawn
from tests.lib.train.test_world import train as train_one_of

Make = Callable[..., FinetuneConfig]

PLAIN = {
    "model__name": "resnet8",
    "augment__policy": "none",
    "train__epochs": 2,
    "optim__name": "sgd",
    "optim__lr": 0.05,
}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A store of this test's own."""
    monkeypatch.setenv("MANTA_CACHE", str(tmp_path / "cache"))
    return features_folder()


def _told(plan: RunPlan) -> list[str]:
    """Train; return what was said of features."""
    said: list[str] = []
    train(plan, World(threads=2), said.append)
    return [line for line in said if "features" in line or "frozen" in line]


def _difference(one: RunPlan, other: RunPlan) -> float:
    """Return how far the weights of two runs are from each other at their ends, averages included."""
    states = [load_state(plan.state_folder) for plan in (one, other)]
    assert states[0] is not None
    assert states[1] is not None
    weights = [
        state.model | {f"ema {name}": w for name, w in state.ema.get("model", {}).items()} for state in states
    ]
    return max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0])


@pytest.mark.parametrize(("freeze", "ema"), [("early", None), ("most", 0.9), ("head", None)])
def test_a_run_on_features_ends_with_the_same_network(small: Make, freeze: str, ema: float | None) -> None:
    changes = {**PLAIN, "train__freeze": freeze, "train__ema_decay": ema}
    once = plan_run(small(**changes, run__name="once"))
    always = plan_run(small(**changes, run__name="always", train__features_gb=0))
    assert isinstance(once.features, FeaturePlan)
    assert always.features is None
    assert _told(always) == []
    assert [line.split(",")[0] for line in _told(once)] == [
        "features of train: 40 images",
        "features of val: 10 images",
    ]
    assert _difference(once, always) < 1e-5
    results = [json.loads((plan.folder / "result.json").read_text()) for plan in (once, always)]
    accuracies = [result["metrics"]["val"]["accuracy"] for result in results]
    assert accuracies[0] == accuracies[1]


def test_another_run_takes_them_from_the_cache(small: Make, cache: Path) -> None:
    changes = {**PLAIN, "train__freeze": "head"}
    _told(plan_run(small(**changes)))
    tables = sorted(cache.glob("*/rows.npy"))
    told = _told(plan_run(small(**changes | {"run__name": "another", "optim__lr": 0.1})))
    assert all(line.endswith("all from the cache") for line in told)
    assert sorted(cache.glob("*/rows.npy")) == tables
    _told(plan_run(small(**changes, run__name="other", run__seed=1)))  # other random weights
    assert len(list(cache.glob("*/rows.npy"))) == 2 * len(tables)


def test_rows_that_the_network_does_not_give_are_found_out(small: Make, cache: Path) -> None:
    changes = {**PLAIN, "train__freeze": "head"}
    first = plan_run(small(**changes))
    _told(first)
    for folder in cache.iterdir():
        if folder.is_dir():
            table = FeatureTable(folder, os.open(folder / "about.json", os.O_RDONLY))
            ids = np.arange(len(table))
            table.write(ids, table.rows[ids] + 1)  # as if written by other code: with right checksums
            table.close()
    again = plan_run(small(**changes, run__name="again"))
    told = _told(again)
    assert sum("computed again" in line for line in told) == 2
    assert _difference(first, again) == 0


def test_views_are_the_pictures_of_the_first_epochs(small: Make) -> None:
    changes = {**PLAIN, "augment__policy": "standard", "train__freeze": "head"}
    once = plan_run(small(**changes, run__name="once", train__feature_views=2))
    always = plan_run(small(**changes, run__name="always"))
    assert isinstance(once.features, FeaturePlan)
    assert once.features.views == 2
    told = _told(once)
    assert [line.split(":")[0] for line in told] == [
        "features of train, view 1",
        "features of val",
        "features of train, view 2",
    ]
    _told(always)
    # Two epochs, two views: nothing is shown twice yet.
    assert _difference(once, always) < 1e-5


def test_a_killed_run_goes_on_with_the_same_bits(small: Make) -> None:
    changes = {**PLAIN, "train__freeze": "head", "train__checkpoint_every_steps": 1}
    straight, killed = (plan_run(small(**changes, run__name=name)) for name in ("straight", "killed"))
    _told(straight)
    trainer = Trainer(killed, World(threads=2), lambda _: None)
    take_step, steps = trainer._step, 0

    def step(*args: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt
        return take_step(*args)

    trainer._step = step
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    trainer.writer.join()
    trainer.inputs.close()
    _told(killed)
    assert _difference(straight, killed) == 0


@pytest.mark.integration
def test_two_workers_share_the_work(small: Make, tmp_path: Path, cache: Path) -> None:
    plan = plan_run(small(**PLAIN, train__freeze="head"))
    plan.folder.mkdir(parents=True)
    spawn(train_one_of, 2, tmp_path / "store", plan, -1)
    alone = plan_run(small(**PLAIN, train__freeze="head", run__name="alone"))
    assert all(line.endswith("all from the cache") for line in _told(alone))
    assert _difference(plan, alone) < 1e-5


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"augment__policy": "standard"}, "augment.policy=standard shows other pictures in every epoch"),
        ({"augment__mix": "mixup"}, "augment.mix=mixup blends other pictures in every epoch"),
        (
            {"train__resize": [{"until_epoch": 1, "image_size": 24}]},
            "train.resize shows pictures at other sizes",
        ),
        (
            {"train__shard": "full", "run__num_workers": 2},
            "train.shard=full shares out the network as a whole",
        ),
        ({"train__freeze": "gradual"}, "train.freeze=gradual leaves no part frozen in every epoch"),
        ({"train__features_gb": 1e-9}, "features of 0.0 GB are more than train.features_gb=1e-09"),
    ],
)
def test_what_makes_them_wrong_is_told_and_the_run_goes_without(
    small: Make, changes: dict[str, Any], reason: str
) -> None:
    plan = plan_run(small(**PLAIN | {"train__freeze": "head"} | changes))
    assert isinstance(plan.features, str)
    assert reason in plan.features
    assert any(line.startswith(f"features  computed in every step: {reason}") for line in plan.lines())


def test_a_teacher_looks_at_pictures(small: Make, digits_bundle: Path) -> None:
    teacher = {"train__teacher": str(digits_bundle), "model__image_size": 28}
    plan = plan_run(small(**PLAIN | {"train__freeze": "head"} | teacher))
    assert plan.features == "train.teacher looks at the pictures themselves"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"train__features_gb": 0}, "no effect with train.features_gb=0"),
        ({"train__freeze": "gradual"}, "needs a part that stays frozen"),
        ({"train__freeze": "none"}, "needs a part that stays frozen"),
        ({"augment__mix": "mixup"}, "augment.mix=mixup blends them; leave one out"),
        ({"train__shard": "full", "run__num_workers": 2}, "train.shard=full shares it out"),
        ({"train__teacher": "x"}, "train.teacher looks at them; leave one out"),
        ({"train__resize": [{"until_epoch": 1, "image_size": 24}]}, "train.resize shows them at other sizes"),
        ({"augment__policy": "none"}, "the same picture each time"),
    ],
)
def test_views_that_could_not_be_kept_are_refused(small: Make, changes: dict[str, Any], reason: str) -> None:
    views = {**PLAIN, "augment__policy": "standard", "train__freeze": "head", "train__feature_views": 2}
    with pytest.raises(ValidationError, match=reason):
        small(**views | changes)


def test_views_without_room_are_an_error_not_a_slow_run(small: Make) -> None:
    views = {"augment__policy": "standard", "train__feature_views": 2, "train__features_gb": 1e-6}
    with pytest.raises(UserError, match=r"train.feature_views=2: features of .* are more than"):
        plan_run(small(**PLAIN | {"train__freeze": "head"} | views))


def test_a_full_store_is_told_and_the_run_goes_without(small: Make, cache: Path) -> None:
    changes = {**PLAIN, "train__freeze": "head"}
    plan = plan_run(small(**changes))
    assert isinstance(plan.features, FeaturePlan)
    # Room for this run's features, and not for the checksums beside them.
    room = plan.features.size_bytes / 1e9
    full = plan_run(small(**changes, run__name="full", train__features_gb=room))
    (told,) = _told(full)
    assert "the frozen part is computed in every step" in told
    assert "has no room for" in told
    asked = replace(
        full, config=small(**changes, run__name="asked", train__features_gb=room, train__feature_views=1)
    )
    with pytest.raises(RunError, match=r"train.feature_views=1: .*has no room for"):
        _told(asked)


def test_the_plan_says_what_is_kept(small: Make) -> None:
    plan = plan_run(small(**PLAIN, train__freeze="head"))
    (line,) = (line for line in plan.lines() if line.startswith("features"))
    assert line.startswith("features  layer3.0 (64 numbers an image) is computed once, one view: 0.0 MB in /")


def test_bf16_is_kept_as_it_is_computed(small: Make, cache: Path) -> None:
    plan = plan_run(small(**PLAIN, train__freeze="head", train__precision="bf16"))
    _told(plan)
    kinds = {np.load(path, mmap_mode="r").dtype.name for path in cache.glob("*/rows.npy")}
    assert kinds == {"uint16", "float32"}  # training, measuring
    assert torch.isfinite(torch.tensor(_difference(plan, plan)))
