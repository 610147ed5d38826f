import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lib.config.schema import FinetuneConfig
from lib.data.dataset import Samples, open_dataset
from lib.data.quarantine import read_quarantine
from lib.errors import RunError
from lib.train.launch import train
from lib.train.loop import Trainer
from lib.train.plan import RunPlan, plan_run
from lib.train.state import load_state
from lib.train.trace import read_trace
from lib.train.world import World

Make = Callable[..., FinetuneConfig]


class StopHere(Exception):
    """Stands for a process that is killed."""


def run_plan(plan: RunPlan, stop_after_steps: int | None = None) -> Path:
    """Train a plan in this process; with a number, die after that many steps."""
    trainer = Trainer(plan, World(threads=2), lambda _: None)
    if stop_after_steps is not None:
        step, left = trainer._step, iter(range(stop_after_steps))

        def dying(*args: object) -> object:
            if next(left, None) is None:
                raise StopHere
            return step(*args)

        trainer._step = dying
        with pytest.raises(StopHere):
            trainer.run()
    else:
        trainer.run()
    return plan.state_folder


def weights(state_folder: Path) -> dict[str, torch.Tensor]:
    state = load_state(state_folder)
    assert state is not None
    return state.model


def metrics(plan: RunPlan) -> list[dict[str, object]]:
    """Return the epochs of metrics.jsonl without what depends on the clock."""
    lines = (plan.folder / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k not in ("seconds", "images_per_s")} for line in lines
    ]


@pytest.mark.parametrize("mix", ["none", "both"])
def test_a_run_killed_in_mid_epoch_ends_with_the_same_bits(finetune_config: Make, mix: str) -> None:
    # Strong augmentation and mixing: all randomness must come back.
    common = {
        "train__epochs": 2,
        "train__checkpoint_every_steps": 3,
        "augment__policy": "strong",
        "augment__mix": mix,
    }
    straight = plan_run(finetune_config(**common, run__name="straight"))
    run_plan(straight)
    config = finetune_config(**common, run__name="killed")
    killed = plan_run(config)
    killed.folder.mkdir(parents=True)
    for steps in (5, 14, 3):  # the second and third start from state in the middle of an epoch
        run_plan(killed, stop_after_steps=steps)
    run_plan(killed)
    expected, found = weights(straight.state_folder), weights(killed.state_folder)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert metrics(killed) == metrics(straight)


def test_dropout_is_the_same_after_a_restart(finetune_config: Make) -> None:
    common = {
        "model__name": "mobilenet_v3_small",
        "model__image_size": 32,
        "train__batch_size": 256,
        "train__checkpoint_every_steps": 2,
    }
    straight = plan_run(finetune_config(**common, run__name="straight"))
    run_plan(straight)
    killed = plan_run(finetune_config(**common, run__name="killed"))
    run_plan(killed, stop_after_steps=3)
    run_plan(killed)
    expected, found = weights(straight.state_folder), weights(killed.state_folder)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_best_epoch_is_what_the_bundle_holds(finetune_config: Make) -> None:
    plan = plan_run(finetune_config(train__epochs=3, optim__lr=0.02, optim__schedule="constant"))
    result = train(plan, World(threads=2), lambda _: None)
    history = metrics(plan)
    best = max(history, key=lambda epoch: (epoch["val"]["accuracy"], -epoch["val"]["loss"]))
    assert result["best_epoch"] == best["epoch"]
    assert result["metrics"]["val"]["accuracy"] == best["val"]["accuracy"]
    assert result["metrics"]["val"]["loss"] == pytest.approx(best["val"]["loss"], abs=1e-9)
    saved = load_file(plan.folder / "bundle/model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in saved.values())
    assert json.loads((plan.folder / "result.json").read_text()) == result


def test_the_trace_tells_what_was_used(finetune_config: Make) -> None:
    plan = plan_run(finetune_config(train__batch_size=100, train__epochs=2, run__trace=True))
    run_plan(plan)
    used = read_trace(plan.folder / "trace")
    samples = plan.dataset.samples("train")
    assert sorted(used) == [(epoch, step) for epoch in range(2) for step in range(plan.steps)]
    for epoch in range(2):
        keys = [key for step in range(plan.steps) for key in used[epoch, step]]
        assert sorted(keys) == sorted(samples.keys(range(len(samples))))
    assert used[0, 0] != used[1, 0]


def _damage(root: Path, samples: Samples, ids: list[int]) -> list[str]:
    """Flip a bit in some pictures of the training shards; return their keys."""
    rows = samples.rows(ids)
    shards = sorted((root / "train").glob("*.tar"))
    for shard, offset in zip(rows.shard, rows.offset, strict=True):
        with shards[shard].open("r+b") as stream:
            stream.seek(offset + 40)
            byte = stream.read(1)
            stream.seek(offset + 40)
            stream.write(bytes([byte[0] ^ 1]))
    return samples.keys(ids)


@pytest.fixture
def damaged(digits: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    root = tmp_path / "damaged"
    shutil.copytree(digits, root)
    return root, _damage(root, plan_samples(root), [3, 700])


def plan_samples(root: Path) -> Samples:
    return open_dataset(str(root)).samples("train")


def test_bad_samples_are_replaced_and_listed(
    finetune_config: Make, damaged: tuple[Path, list[str]], tmp_path: Path
) -> None:
    root, keys = damaged
    changes = {"data__root": str(root), "train__epochs": 2, "run__trace": True}
    plan = plan_run(finetune_config(**changes))
    said: list[str] = []
    result = train(plan, World(threads=2), said.append)
    assert result["bad_samples"] == 2
    entries = read_quarantine(plan.folder / "quarantine.jsonl")
    assert [(split, key) for split, key, _ in entries] == [("train", key) for key in sorted(keys)]
    assert all("has changed since it was packed" in reason for _, _, reason in entries)
    assert sum(line.startswith("left out: ") for line in said) == 2
    used = read_trace(plan.folder / "trace")
    for epoch in range(2):
        taken = Counter(key for (e, _), step in used.items() if e == epoch for key in step)
        assert taken.total() == sum(plan.counts)
        assert not set(keys) & set(taken)
        # The two that stand in are there twice, all others once.
        assert sorted(taken.values())[-3:] == [1, 2, 2]


def test_too_many_bad_samples_end_the_run_with_their_keys(
    finetune_config: Make, damaged: tuple[Path, list[str]]
) -> None:
    root, keys = damaged
    plan = plan_run(finetune_config(data__root=str(root), data__max_bad_fraction=0.001))
    with pytest.raises(RunError, match="2 of 1,439 samples of split train cannot be used") as caught:
        run_plan(plan)
    assert all(key in caught.value.hint for key in keys)


def test_state_is_written_by_the_clock_as_well(finetune_config: Make) -> None:
    changes = {"train__batch_size": 32, "train__checkpoint_every_s": 1e-6}
    plan = plan_run(finetune_config(**changes))
    run_plan(plan, stop_after_steps=25)
    state = load_state(plan.state_folder)
    assert state is not None
    assert (state.epoch, state.step) == (0, 20)


def test_a_run_may_draw_classes_by_weight(finetune_config: Make, digits: Path) -> None:
    weights = {"0": 3, "7": 0.25}
    plan = plan_run(finetune_config(data__sampling="weighted", data__class_weights=weights))
    trainer = Trainer(plan, World(threads=2), lambda _: None)
    trainer.run()
    order = trainer.inputs.order(epoch=0)
    labels = plan_samples(digits).labels()
    drawn = np.concatenate([order.batch(step)[0] for step in range(order.num_steps)])
    assert len(drawn) == len(labels)
    stored, found = (np.bincount(each, minlength=10) for each in (labels, labels[drawn]))
    rates = stored * np.array([weights.get(name, 1) for name in plan.dataset.classes])
    # Systematic resampling: each class has its share, but for draws at the borders of its samples.
    assert found / len(drawn) == pytest.approx(rates / rates.sum(), abs=0.01)
    assert trainer.state.history[0]["train"]["num_samples"] == len(labels)


def test_a_loss_that_is_not_a_number_ends_the_run_with_a_sentence(finetune_config: Make) -> None:
    plan = plan_run(finetune_config(optim__name="sgd", optim__lr=1e12, optim__schedule="constant"))
    with pytest.raises(RunError, match=r"the loss became (nan|inf).*\n.*lower optim.lr"):
        run_plan(plan)


def test_history_tells_learning_rate_and_speed(finetune_config: Make) -> None:
    plan = plan_run(finetune_config(train__epochs=2))
    run_plan(plan)
    epochs = [json.loads(line) for line in (plan.folder / "metrics.jsonl").read_text().splitlines()]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    assert [epoch["step"] for epoch in epochs] == [plan.steps, 2 * plan.steps]
    assert all(epoch["images_per_s"] > 0 and math.isfinite(epoch["lr"]) for epoch in epochs)
    assert epochs[0]["train"]["num_samples"] == sum(plan.counts)


def test_a_run_without_validation_keeps_its_last_epoch(
    finetune_config: Make, digits: Path, tmp_path: Path
) -> None:
    from lib.config.packing import PackConfig
    from lib.data.pack import pack, plan_pack

    root = tmp_path / "no-val"
    config = PackConfig.model_validate({"source": "digits", "out": str(root), "split": {"val": 0, "test": 0}})
    pack(config, plan_pack(config), map)
    plan = plan_run(finetune_config(data__root=str(root), train__epochs=2, train__batch_size=512))
    result = train(plan, World(threads=2), lambda _: None)
    assert result["best_epoch"] == 2
    assert list(result["metrics"]) == ["train"]
