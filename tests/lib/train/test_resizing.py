"""Progressive resizing in real runs: what each step sees, what is measured, where a killed run goes on."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lib.config.schema import FinetuneConfig
from lib.errors import UserError
from lib.train.launch import train
from lib.train.loop import Trainer
from lib.train.plan import RunPlan, plan_run
from lib.train.trace import read_trace
from lib.train.world import World
from tests.lib.train.test_loop import metrics, run_plan, weights

Make = Callable[..., FinetuneConfig]
SAMPLES = 40

COMMON: dict[str, Any] = {
    "model__name": "resnet8",
    "train__epochs": 3,
    "train__batch_size": 10,
    "train__resize": [
        {"until_epoch": 1, "image_size": 12, "batch_size": 20, "lr_factor": 2.0},
        {"until_epoch": 2, "image_size": 24, "batch_size": 15},
    ],
    "run__trace": True,
}
SIZES, BATCHES, STEPS = [12, 24, 32], [[20, 20], [13, 13, 14], [10, 10, 10, 10]], [2, 3, 4]


def exactly_once(plan: RunPlan) -> None:
    used = read_trace(plan.folder / "trace")
    assert sorted(used) == [(epoch, step) for epoch in range(3) for step in range(STEPS[epoch])]
    samples = plan.dataset.samples("train")
    for epoch in range(3):
        taken = Counter(key for (e, _), keys in used.items() if e == epoch for key in keys)
        assert taken == Counter(samples.keys(range(SAMPLES)))


def test_each_stage_has_its_size_batch_and_rate(small: Make) -> None:
    plan = plan_run(small(**COMMON, optim__schedule="constant"))
    trainer = Trainer(plan, World(threads=2), lambda _: None)
    step, seen, measured = trainer._step, [], []

    def watched(model: Any, batch: Any, images: int) -> Any:
        seen.append((trainer.state.epoch, tuple(batch.pixels.shape[1:]), images))
        assert trainer.optimizer.param_groups[0]["lr"] == 1e-3 * (2 if trainer.state.epoch == 0 else 1)
        return step(model, batch, images)

    trainer._step = watched
    trainer.model.register_forward_pre_hook(
        lambda model, inputs: None if model.training else measured.append(inputs[0].shape[2])
    )
    trainer.run()
    assert [epoch for epoch, _, _ in seen] == [e for e, steps in enumerate(STEPS) for _ in range(steps)]
    assert [images for _, _, images in seen] == [size for sizes in BATCHES for size in sizes]
    assert all(shape == (1, SIZES[epoch], SIZES[epoch]) for epoch, shape, _ in seen)
    assert set(measured) == {32}
    assert [epoch["step"] for epoch in metrics(plan)] == [2, 5, 9]
    assert [epoch["train"]["num_samples"] for epoch in metrics(plan)] == [SAMPLES] * 3
    assert [epoch["lr"] for epoch in metrics(plan)] == [2e-3, 1e-3, 1e-3]
    exactly_once(plan)


def test_a_run_killed_in_any_stage_ends_with_the_same_bits(small: Make) -> None:
    common = COMMON | {
        "augment__policy": "strong",
        "augment__mix": "both",
        "train__checkpoint_every_steps": 2,
    }
    straight = plan_run(small(**common, run__name="straight"))
    run_plan(straight)
    killed = plan_run(small(**common, run__name="killed"))
    for steps in (1, 2, 3, 1):  # states in the middle of stage 1, 2, 3 and 3
        run_plan(killed, stop_after_steps=steps)
    run_plan(killed)
    expected, found = weights(straight.state_folder), weights(killed.state_folder)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert metrics(killed) == metrics(straight)
    exactly_once(killed)


def test_the_bundle_and_the_report_are_of_the_full_size(small: Make) -> None:
    plan = plan_run(small(**COMMON))
    said: list[str] = []
    result = train(plan, World(threads=2), said.append)
    best = next(epoch for epoch in metrics(plan) if epoch["epoch"] == result["best_epoch"])
    assert result["calibration"]["before"]["val"]["loss"] == pytest.approx(best["val"]["loss"], abs=1e-9)
    from lib.bundle import read_bundle

    assert read_bundle(Path(result["bundle"])).preprocess.image_size == 32
    assert "3 epochs, 9 steps." in (plan.folder / "report/index.html").read_text()


def test_the_plan_shows_the_stages(small: Make) -> None:
    lines = plan_run(small(**COMMON)).lines()
    first = next(i for i, line in enumerate(lines) if line.startswith("steps"))
    assert lines[first] == "steps     9 in 3 epochs; measured at 32 x 32"
    assert lines[first + 1].split(": ")[1] == (
        "12 x 12, 2 steps an epoch, up to 20 images each, learning rate x 2"
    )
    assert [line.split(":")[0].strip() for line in lines[first + 1 : first + 4]] == [
        "epoch 1",
        "epoch 2",
        "epoch 3",
    ]
    # 20 images of 12 x 12 are fewer pixels than 10 of 32 x 32.
    assert any("MB per worker for 10 images of 32 x 32 at a time" in line for line in lines)


@pytest.mark.parametrize(
    ("model", "size", "sentence"),
    [
        (
            "lenet5",
            20,
            r"train.resize: lenet5 cannot work at image_size=20.*\n.*built for model.image_size=28",
        ),
        ("resnet8", 1, None),
        ("alexnet", 16, r"train.resize: alexnet cannot work at image_size=16"),
    ],
)
def test_a_stage_that_the_network_cannot_take(
    finetune_config: Make, model: str, size: int, sentence: str | None
) -> None:
    stages = [{"until_epoch": 1, "image_size": size}]
    config = finetune_config(model__name=model, train__epochs=2, train__resize=stages)
    if sentence is None:
        assert plan_run(config).stage(0).image_size == size
        return
    with pytest.raises(UserError, match=sentence):
        plan_run(config)


def test_small_images_have_no_least_crop(finetune_config: Make) -> None:
    with pytest.raises(UserError, match=r"augment.min_crop=0.5 has no effect at model.image_size=28"):
        plan_run(finetune_config(augment__min_crop=0.5))
    plan_run(finetune_config(model__name="resnet8", model__image_size=96, augment__min_crop=0.5))


def test_a_pipeline_is_named_by_its_absolute_path(
    finetune_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transform = '{"transform": {"__class_fullname__": "InvertImg", "p": 1.0}}'
    (tmp_path / "invert.json").write_text(transform)
    monkeypatch.chdir(tmp_path)
    plan = plan_run(finetune_config(augment__policy="albumentations:invert.json"))
    assert plan.config.augment.policy == f"albumentations:{tmp_path / 'invert.json'}"
    wrong = transform.replace("InvertImg", "Normalize")
    (tmp_path / "normalise.json").write_text(wrong)
    with pytest.raises(UserError, match="makes float32"):
        plan_run(finetune_config(augment__policy="albumentations:normalise.json"))
