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

from lib.calibration import tempered
from lib.config.packing import PackConfig
from lib.config.schema import FinetuneConfig
from lib.data.dataset import Samples, open_dataset
from lib.data.pack import pack, plan_pack
from lib.data.quarantine import read_quarantine
from lib.errors import RunError, UserError
from lib.predict.predictor import Predictor
from lib.train.launch import train
from lib.train.loop import Trainer
from lib.train.plan import RunPlan, plan_run
from lib.train.state import load_state
from lib.train.trace import read_trace
from lib.train.world import World
from tests.rooms import no_room

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
        trainer.writer.join()
    else:
        trainer.run()
        trainer.writer.wait()
    return plan.state_folder


def weights(state_folder: Path) -> dict[str, torch.Tensor]:
    state = load_state(state_folder)
    assert state is not None
    return state.model


def metrics(plan: RunPlan) -> list[dict[str, object]]:
    """Return the epochs of metrics.jsonl without what depends on the machine."""
    measured = ("seconds", "images_per_s", "memory_mb")
    lines = (plan.folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in measured} for line in lines]


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


COMBINATIONS: dict[str, dict[str, object]] = {
    # A scaled loss, weights by class, an average of the weights.
    "focal": {
        "train__loss": "focal",
        "train__class_weights": "auto",
        "train__label_smoothing": 0.1,
        "train__accumulate": 3,
        "train__ema_decay": 0.9,
        "train__gradient_clip": 0.5,
        "train__precision": "fp16",
        "augment__mix": "both",
    },
    # Batch statistics that are computed twice, a network that thaws.
    "recompute": {
        "model__name": "resnet8",
        "optim__name": "sgd",
        "optim__lr": 0.05,
        "model__image_size": 16,
        "train__checkpoint_activations": True,
        "train__accumulate": 2,
        "train__ema_decay": 0.99,
        "train__freeze": "gradual",
    },
    # Two optimizers in one, and a teacher.
    "muon": {
        "optim__name": "muon",
        "optim__momentum": 0.95,
        "train__teacher_temperature": 3.0,
        "train__ema_decay": 0.5,
        "augment__mix": "mixup",
    },
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_technique_goes_on_to_the_bit(finetune_config: Make, digits_bundle: Path, name: str) -> None:
    common = {
        "train__epochs": 2,
        "train__batch_size": 256,
        "train__checkpoint_every_steps": 2,
        **COMBINATIONS[name],
    }
    if name == "muon":
        common["train__teacher"] = str(digits_bundle)
    straight = plan_run(finetune_config(**common, run__name="straight"))
    run_plan(straight)
    killed = plan_run(finetune_config(**common, run__name="killed"))
    killed.folder.mkdir(parents=True)
    for steps in (3, 6):
        run_plan(killed, stop_after_steps=steps)
    run_plan(killed)
    states = [load_state(plan.state_folder) for plan in (straight, killed)]
    assert states[0] is not None
    assert states[1] is not None
    assert states[0].ema["updates"] == 2 * straight.stages[0].steps
    for expected, found in (
        (states[0].model, states[1].model),
        (states[0].ema["model"], states[1].ema["model"]),
    ):
        assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert states[0].scaler == states[1].scaler
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
    assert result["calibration"]["before"]["val"]["loss"] == pytest.approx(best["val"]["loss"], abs=1e-9)
    saved = load_file(plan.folder / "bundle/model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in saved.values())
    assert json.loads((plan.folder / "result.json").read_text()) == result


def test_the_average_of_the_weights_is_measured_and_exported(finetune_config: Make) -> None:
    plan = plan_run(finetune_config(train__ema_decay=0.95, optim__lr=0.01))
    result = train(plan, World(threads=2), lambda _: None)
    state = load_state(plan.state_folder)
    assert state is not None
    saved = load_file(plan.folder / "bundle/model.safetensors")
    for name, value in state.ema["model"].items():
        assert torch.equal(saved[name], value), name
        assert not torch.equal(saved[name], state.model[name]), name
    assert result["calibration"]["before"]["val"]["loss"] == pytest.approx(
        metrics(plan)[0]["val"]["loss"], abs=1e-9
    )
    Predictor(plan.folder / "bundle").golden_check()


def test_a_state_of_before_there_were_averages_is_read(finetune_config: Make) -> None:
    plan = plan_run(finetune_config(train__batch_size=512, train__epochs=2, train__checkpoint_every_steps=4))
    run_plan(plan, stop_after_steps=4)
    file = plan.state_folder / "last.pt"
    values = torch.load(file, weights_only=True)
    del values["ema"]
    torch.save(values, file)
    run_plan(plan)
    assert len(metrics(plan)) == 2


def test_a_student_learns_from_its_teacher(finetune_config: Make, digits_bundle: Path) -> None:
    def agreement(**changes: object) -> float:
        name = f"run{len(changes)}"
        plan = plan_run(finetune_config(optim__lr=3e-3, run__name=name, **changes))
        train(plan, World(threads=2), lambda _: None)
        samples = plan.dataset.samples("val")
        images = [samples.read(sample) for sample in range(len(samples))]
        teacher, student = (
            # As sure as they were trained to be, before the temperature.
            tempered(predictor.predict(images), 1 / predictor.bundle.manifest.temperature)
            for predictor in (Predictor(digits_bundle), Predictor(plan.folder / "bundle"))
        )
        return float((teacher * np.log(student)).sum(1).mean())

    # Without a word from the labels it comes to answer as the teacher does, and more so than with them alone.
    changes = {"train__teacher": str(digits_bundle), "train__teacher_weight": 1.0}
    assert agreement(**changes) > agreement() + 0.05


def test_a_run_that_gets_no_better_stops(finetune_config: Make) -> None:
    # A rate at which nothing is learnt: after the first epoch, ties are no gain.
    common = {
        "train__epochs": 9,
        "train__batch_size": 512,
        "train__early_stop_patience": 2,
        "optim__name": "sgd",
        "optim__schedule": "constant",
        "optim__lr": 1e-11,
        "optim__weight_decay": 0.0,
    }
    plan = plan_run(finetune_config(**common))
    said: list[str] = []
    result = train(plan, World(threads=2), said.append)
    assert (result["best_epoch"], result["epochs"]) == (1, 3)
    assert "stopped early: epoch 1 was the best" in said
    # A run that is started again after its last epoch comes to the same end.
    killed = plan_run(finetune_config(**common, run__name="killed"))
    run_plan(killed, stop_after_steps=3 * killed.stages[0].steps - 1)
    run_plan(killed)
    assert metrics(killed) == metrics(plan)
    trainer = Trainer(killed, World(threads=2), lambda _: None)
    trainer.run()
    assert trainer.state.epoch == 3


def test_stopping_early_needs_a_validation(finetune_config: Make, unvalidated: Path) -> None:
    with pytest.raises(UserError, match="early_stop_patience waits for a better validation"):
        plan_run(finetune_config(data__root=str(unvalidated), train__early_stop_patience=1))


def test_a_full_disk_ends_a_run_that_can_go_on(finetune_config: Make) -> None:
    common = {"train__batch_size": 128, "train__checkpoint_every_steps": 3}
    straight = plan_run(finetune_config(**common, run__name="straight"))
    run_plan(straight)
    full = plan_run(finetune_config(**common, run__name="full"))
    full.folder.mkdir(parents=True)
    run_plan(full, stop_after_steps=4)
    with no_room(beyond_bytes=200_000), pytest.raises(RunError, match="File too large") as caught:
        train(full, World(threads=2), lambda _: None)
    assert "run.resume=full" in caught.value.hint
    assert not (full.folder / "result.json").exists()
    said: list[str] = []
    train(full, World(threads=2), said.append)  # with room again
    assert "going on from epoch 1, step 3" in said
    expected, found = weights(straight.state_folder), weights(full.state_folder)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_deterministic_run_is_the_same_again(finetune_config: Make) -> None:
    common = {"train__batch_size": 256, "train__checkpoint_every_s": 0, "run__deterministic": True}
    plans = [plan_run(finetune_config(**common, run__name=name)) for name in ("one", "two")]
    said: list[str] = []
    for plan in plans:
        train(plan, World(threads=2), said.append)
    assert not torch.are_deterministic_algorithms_enabled()
    one, two = (weights(plan.state_folder) for plan in plans)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert sum(line.startswith("first step ") for line in said) == 2


def test_what_cannot_be_tracked_does_not_stop_a_run(finetune_config: Make) -> None:
    plan = plan_run(finetune_config(train__batch_size=256, track__tensorboard=True))
    plan.folder.mkdir(parents=True)
    (plan.folder / "tensorboard").write_text("")  # where the folder of its events would be
    said: list[str] = []
    result = train(plan, World(threads=2), said.append)
    assert result["best_epoch"] == 1
    warnings = [line for line in said if line.startswith("warning: track.tensorboard: NotADirectoryError")]
    assert len(warnings) == 1


def test_the_trace_tells_what_was_used(finetune_config: Make) -> None:
    plan = plan_run(finetune_config(train__batch_size=100, train__epochs=2, run__trace=True))
    run_plan(plan)
    used = read_trace(plan.folder / "trace")
    samples = plan.dataset.samples("train")
    assert sorted(used) == [(epoch, step) for epoch in range(2) for step in range(plan.stage(0).steps)]
    for epoch in range(2):
        keys = [key for step in range(plan.stage(0).steps) for key in used[epoch, step]]
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
    changes = {"train__batch_size": 32, "train__checkpoint_every_s": 1e-9}
    plan = plan_run(finetune_config(**changes))
    run_plan(plan, stop_after_steps=25)
    state = load_state(plan.state_folder)
    assert state is not None
    assert (state.epoch, state.step) == (0, 25)


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
    assert [epoch["step"] for epoch in epochs] == [plan.stage(0).steps, 2 * plan.stage(0).steps]
    assert all(epoch["images_per_s"] > 0 and math.isfinite(epoch["lr"]) for epoch in epochs)
    assert epochs[0]["train"]["num_samples"] == sum(plan.counts)


@pytest.fixture(scope="module")
def unvalidated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits, all of them to train on."""
    root = tmp_path_factory.mktemp("unvalidated") / "no-val"
    config = PackConfig.model_validate({"source": "digits", "out": str(root), "split": {"val": 0, "test": 0}})
    pack(config, plan_pack(config), map)
    return root


def test_a_run_without_validation_keeps_its_last_epoch(finetune_config: Make, unvalidated: Path) -> None:
    plan = plan_run(finetune_config(data__root=str(unvalidated), train__epochs=2, train__batch_size=512))
    result = train(plan, World(threads=2), lambda _: None)
    assert result["best_epoch"] == 2
    assert list(result["metrics"]) == ["train"]
