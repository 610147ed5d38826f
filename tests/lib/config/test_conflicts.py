from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lib.config.load import load
from lib.config.schema import FinetuneConfig
from lib.config.yaml_write import to_yaml
from lib.errors import UserError

STAGES = [
    {"until_epoch": 2, "image_size": 16, "batch_size": 32, "lr_factor": 2},
    {"until_epoch": 4, "image_size": 24},
]


def config(**sections: dict[str, Any]) -> FinetuneConfig:
    return FinetuneConfig.model_validate({"data": {"root": "x"}, **sections})


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"optim": {"lr": 1e-3, "min_lr": 1e-2}}, "optim.min_lr=0.01 is above optim.lr=0.001"),
        ({"optim": {"warmup_epochs": 10}}, "optim.warmup_epochs=10 leaves nothing of train.epochs=10"),
        (
            {"optim": {"schedule": "constant", "min_lr": 1e-4}},
            "optim.min_lr=0.0001 has no effect with optim.schedule=constant; it is for cosine, warm_restarts",
        ),
        ({"optim": {"step_epochs": 2}}, "optim.step_epochs=2 has no effect .* it is for step"),
        ({"optim": {"step_factor": 0.1}}, "optim.step_factor=0.1 has no effect .* it is for step, plateau"),
        ({"optim": {"plateau_patience": 1}}, "optim.plateau_patience=1 has no effect"),
        ({"optim": {"restart_epochs": 5}}, "optim.restart_epochs=5 has no effect"),
        (
            {"optim": {"schedule": "step", "step_epochs": 10}},
            "optim.step_epochs=10 leaves optim.schedule=step nothing to do in train.epochs=10; lower it",
        ),
        ({"optim": {"schedule": "warm_restarts", "restart_epochs": 8, "warmup_epochs": 2}}, "nothing to do"),
        ({"optim": {"schedule": "plateau", "plateau_patience": 8}}, "nothing to do"),
        ({"augment": {"mix_alpha": 0.2}}, "augment.mix_alpha=0.2 has no effect with augment.mix=none"),
        ({"augment": {"policy": "none", "min_crop": 0.5}}, "augment.min_crop=0.5 has no effect"),
        (
            {"augment": {"mix": "both"}, "train": {"batch_size": 5}, "run": {"num_workers": 3}},
            "5 images a step are less than two each for 3 workers",
        ),
        (
            {"train": {"resize": [{"until_epoch": 4, "image_size": 8}, {"until_epoch": 4, "image_size": 9}]}},
            "until_epoch must grow from stage to stage, not 4, 4",
        ),
        ({"train": {"epochs": 3, "resize": STAGES}}, "ends with epoch 4, and train.epochs=3"),
        (
            {"train": {"resize": STAGES}, "run": {"num_workers": 40}},
            r"train.resize.0.batch_size=32 is less than run.num_workers=40; each worker needs an image",
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(sections: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        config(**sections)


@pytest.mark.parametrize(
    "sections",
    [
        {"optim": {"schedule": "constant", "lr": 1e-8}},  # below the min_lr that others have
        {"optim": {"schedule": "plateau", "plateau_patience": 7}},
        {"optim": {"schedule": "step", "step_epochs": 9}},
        {"augment": {"mix": "both"}, "train": {"batch_size": 6}, "run": {"num_workers": 3}},
        {"train": {"epochs": 4, "resize": STAGES}},
    ],
)
def test_what_just_fits_is_taken(sections: dict[str, Any]) -> None:
    config(**sections)


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "warm_restarts", "plateau", "one_cycle"])
def test_every_schedule_works_with_the_defaults(schedule: str) -> None:
    config(optim={"schedule": schedule})


def test_stages_may_be_typed_and_come_back_from_a_file(tmp_path: Path) -> None:
    word = (
        "train.resize=[{until_epoch: 2, image_size: 16, lr_factor: 1e-1}, {until_epoch: 4, image_size: 24}]"
    )
    typed = load(FinetuneConfig, ["data.root=x", word]).config
    assert [(s.until_epoch, s.image_size, s.lr_factor, s.batch_size) for s in typed.train.resize] == [
        (2, 16, 0.1, None),
        (4, 24, 1.0, None),
    ]
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(typed))
    assert load(FinetuneConfig, [str(file)]).config == typed


def test_a_misspelt_part_of_a_stage_is_named() -> None:
    with pytest.raises(UserError) as caught:
        load(FinetuneConfig, ["data.root=x", "train.resize=[{until_epoch: 0, image_siz: 16}]"])
    assert "train.resize.0.image_siz: no such key; did you mean image_size?" in str(caught.value)
    assert "train.resize.0.until_epoch=0: must be a whole number of at least 1" in str(caught.value)
