from typing import Any

import pytest

from lib.config.training import TrainSection
from lib.images.spec import PreprocessSpec
from lib.train.stages import (
    Stage,
    build_stages,
    stage_at,
    stage_lines,
    stage_spec,
    steps_before,
    work_before,
)

RESIZE = [
    {"until_epoch": 2, "image_size": 16, "batch_size": 50, "lr_factor": 2.0},
    {"until_epoch": 3, "image_size": 64},
]


def stages(resize: list[dict[str, Any]], epochs: int = 5) -> tuple[Stage, ...]:
    train = TrainSection.model_validate({"epochs": epochs, "batch_size": 30, "resize": resize})
    return build_stages(train, image_size=32, num_samples=101)


def test_what_follows_the_last_stage_is_plain() -> None:
    assert stages(RESIZE) == (
        Stage(0, 2, image_size=16, batch_size=50, lr_factor=2.0, steps=3),
        Stage(2, 3, image_size=64, batch_size=30, lr_factor=1.0, steps=4),
        Stage(3, 5, image_size=32, batch_size=30, lr_factor=1.0, steps=4),
    )
    assert len(stages(RESIZE, epochs=3)) == 2
    assert stages([]) == (Stage(0, 5, image_size=32, batch_size=30, lr_factor=1.0, steps=4),)


def test_an_epoch_has_one_stage() -> None:
    assert [stage_at(stages(RESIZE), epoch).image_size for epoch in range(5)] == [16, 16, 64, 32, 32]


def test_steps_are_counted_one_by_one() -> None:
    all_stages = stages(RESIZE)
    places = [(epoch, step) for epoch in range(5) for step in range(stage_at(all_stages, epoch).steps)]
    assert [steps_before(all_stages, *place) for place in places] == list(range(18))
    assert steps_before(all_stages, 5) == 18


def test_work_is_counted_in_pixels() -> None:
    all_stages = stages(RESIZE)
    total = 2 * 16**2 + 64**2 + 2 * 32**2
    assert work_before(all_stages, 0) == 0
    assert work_before(all_stages, 1, 3) == work_before(all_stages, 2) == pytest.approx(2 * 16**2 / total)
    assert work_before(all_stages, 2, 1) == pytest.approx((2 * 16**2 + 64**2 / 4) / total)
    assert work_before(all_stages, 4, 4) == work_before(all_stages, 5) == 1


def test_a_stage_sees_the_same_share_of_the_picture() -> None:
    spec = PreprocessSpec(image_size=224, resize_size=256)
    small = stage_spec(spec, Stage(0, 1, image_size=112, batch_size=1, lr_factor=1.0, steps=1))
    assert small == PreprocessSpec(image_size=112, resize_size=128)


def test_stages_are_described() -> None:
    assert stage_lines(stages([]), 32) == ["steps     5 epochs of 4 steps, up to 30 images each"]
    assert stage_lines(stages(RESIZE), 32) == [
        "steps     18 in 5 epochs; measured at 32 x 32",
        "          epochs 1 to 2: 16 x 16, 3 steps an epoch, up to 50 images each, learning rate x 2",
        "          epoch 3: 64 x 64, 4 steps an epoch, up to 30 images each, learning rate x 1",
        "          epochs 4 to 5: 32 x 32, 4 steps an epoch, up to 30 images each, learning rate x 1",
    ]
    whole_run = [{"until_epoch": 5, "image_size": 32, "lr_factor": 0.5}]
    assert "learning rate x 0.5" in stage_lines(stages(whole_run), 32)[1]
