"""What freezing, rates by depth, stems and starts claim, held against real trainings of a small network."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib.bundle import read_bundle
from lib.config.names import FREEZE_STRATEGIES
from lib.config.schema import FinetuneConfig
from lib.errors import UserError
from lib.models.build import build_model
from lib.models.freeze import trainable_groups
from lib.models.groups import depth_groups
from lib.train.launch import train
from lib.train.loop import Trainer
from lib.train.plan import plan_run
from lib.train.rates import group_factors
from lib.train.schedules import learning_rate
from lib.train.world import World

Make = Callable[..., FinetuneConfig]


@pytest.mark.parametrize("freeze", FREEZE_STRATEGIES)
def test_in_each_epoch_the_groups_of_the_strategy_change_and_no_bit_of_the_others(
    finetune_config: Make, freeze: str
) -> None:
    epochs = 4 if freeze == "gradual" else 1
    changes = {"model__name": "resnet8", "model__image_size": 8, "train__batch_size": 256}
    plan = plan_run(finetune_config(**changes, train__freeze=freeze, train__epochs=epochs))
    trainer = Trainer(plan, World(threads=2), lambda _: None)
    groups = depth_groups(trainer.model)
    train_epoch, moved = trainer._epoch, []

    def watched(*args: object) -> object:
        before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
        metrics = train_epoch(*args)
        after = trainer.model.state_dict()
        moved.append({name for name in before if not torch.equal(before[name], after[name])})
        return metrics

    trainer._epoch = watched
    trainer.run()
    for epoch in range(epochs):
        learning = [groups[i] for i in trainable_groups(freeze, len(groups), epoch, epochs)]
        prefixes = tuple(f"{path}." for group in learning for path in group.modules)
        # Weights, BatchNorm's statistics and its counters: all of what learns, nothing of what does not.
        assert moved[epoch] == {name for name in trainer.model.state_dict() if name.startswith(prefixes)}
    if freeze == "gradual":
        assert [len(names) for names in moved] == sorted({len(names) for names in moved})


@pytest.mark.parametrize(
    "rates",
    [
        {"optim__layer_decay": 0.7, "optim__head_lr": 0.05},
        {"optim__layer_factors": [0.1, 0.3, 0.5, 1, 2]},
    ],
)
def test_every_parameter_moves_at_the_rate_of_its_group_in_every_step(
    finetune_config: Make, rates: dict[str, object]
) -> None:
    plain = {"optim__name": "sgd", "optim__momentum": 0, "optim__weight_decay": 0, "optim__lr": 0.02}
    changes = {"train__epochs": 2, "train__batch_size": 256, "optim__warmup_epochs": 0.5}
    plan = plan_run(finetune_config(**plain, **changes, **rates))
    trainer = Trainer(plan, World(threads=2), lambda _: None)
    groups = depth_groups(trainer.model)
    factors = group_factors(plan.config.optim, len(groups))
    take_step, steps = trainer._step, 0

    def checked(*args: object) -> object:
        nonlocal steps
        before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
        result = take_step(*args)
        at = trainer.state.epoch + trainer.state.step / plan.stages[0].steps
        base = learning_rate(plan.config.optim, plan.config.train.epochs, at, [])
        for group, factor in zip(groups, factors, strict=True):
            for name in group.parameters:
                parameter = trainer.model.get_parameter(name)
                expected = before[name] - base * factor * parameter.grad
                torch.testing.assert_close(parameter.detach(), expected, rtol=1e-6, atol=1e-8)
        steps += 1
        return result

    trainer._step = checked
    trainer.run()
    assert steps == 2 * plan.stages[0].steps
    assert trainer.state.history[-1]["lr"] == pytest.approx(
        learning_rate(plan.config.optim, 2, 2 - 1 / plan.stages[0].steps, [])
    )


def test_auxiliary_heads_are_trained_with_their_weight_in_the_loss(finetune_config: Make) -> None:
    plan = plan_run(finetune_config(model__name="googlenet", model__image_size=32, train__batch_size=16))
    trainer = Trainer(plan, World(threads=2), lambda _: None)
    take_step, losses = trainer._step, []

    class Enough(Exception):
        pass

    def one_step(*args: object) -> object:
        losses.append(take_step(*args))
        raise Enough

    trainer._step = one_step
    with pytest.raises(Enough):
        trainer.run()
    for head in ("aux1.fc2", "aux2.fc2", "fc"):
        assert trainer.model.get_parameter(f"{head}.weight").grad.abs().sum() > 0
    # What is reported is the loss of the network itself.
    assert 0 < losses[0][0].item() / 16 < 2 * torch.log(torch.tensor(10.0)).item()


def test_small_images_get_a_small_stem_and_the_run_and_its_bundle_say_so(finetune_config: Make) -> None:
    common = {"model__name": "mobilenet_v2", "model__image_size": 16}
    plan = plan_run(finetune_config(**common))
    assert plan.arch_kwargs["stem"] == plan.config.model.stem == "small"
    assert "input 1 x 16 x 16, small stem" in "\n".join(plan.lines())
    assert plan_run(finetune_config(**common, model__stem="standard")).arch_kwargs["stem"] == "standard"
    with pytest.raises(UserError, match="lenet5 does not begin with a strided"):
        plan_run(finetune_config(model__stem="small"))


def test_a_run_goes_on_from_a_bundle(finetune_config: Make, digits_bundle: Path) -> None:
    lines: list[str] = []
    changes = {"model__weights": str(digits_bundle), "train__freeze": "head", "train__batch_size": 512}
    plan = plan_run(finetune_config(**changes))
    result = train(plan, World(threads=2), lines.append)
    before = read_bundle(digits_bundle).manifest.metrics["test"]["accuracy"]
    assert "the head for 10 classes by name too" in lines[0]
    # A step or three of the head alone harm little; from random weights it would be near 0.1.
    assert result["metrics"]["test"]["accuracy"] > before - 0.1
    with pytest.raises(UserError, match="is a bundle of lenet5, not of resnet8"):
        plan_run(finetune_config(model__name="resnet8", model__weights=str(digits_bundle)))


def test_a_bundle_brings_its_size_and_its_stem(finetune_config: Make) -> None:
    name = {"model__name": "shufflenet_v2_x0_5"}
    plan = plan_run(finetune_config(**name, model__image_size=14, train__batch_size=1024))
    bundle = train(plan, World(threads=2), lambda _: None)["bundle"]
    name |= {"model__weights": bundle, "run__name": "next"}
    following = plan_run(finetune_config(**name))
    assert following.arch_kwargs == plan.arch_kwargs
    assert following.arch_kwargs["stem"] == "small"
    assert following.preprocess == plan.preprocess
    # The size may be another; what of the picture is shown stays the same.
    larger = plan_run(finetune_config(**name, model__image_size=70))
    assert larger.arch_kwargs == plan.arch_kwargs | {"image_size": 70}
    assert larger.preprocess.resize_size == 70 * plan.preprocess.resize_size // 14
    with pytest.raises(UserError, match=r"with model\.stem=small"):
        plan_run(finetune_config(**name, model__stem="standard"))


def test_hints_on_what_helps_little(finetune_config: Make) -> None:
    told = "\n".join(plan_run(finetune_config(train__freeze="head")).lines())
    assert "hint      train.freeze=head holds random weights fixed: give model.weights" in told
    told = "\n".join(plan_run(finetune_config(model__name="inception_v3", model__image_size=75)).lines())
    assert "inception_v3 has no auxiliary head below 299 px" in told


def test_a_hint_on_the_rate_of_a_head_alone(finetune_config: Make, tmp_path: Path) -> None:
    file = tmp_path / "start.pth"
    torch.save(build_model("lenet5", 10, channels=1, image_size=28).state_dict(), file)

    def told(**changes: object) -> str:
        config = finetune_config(model__weights=str(file), train__freeze="head", **changes)
        return "\n".join(plan_run(config).lines())

    hint = "a head alone often needs fewer epochs with optim.lr=0.01"
    assert f"{hint} than 0.001" in told(optim__lr=1e-3)
    assert hint not in told(optim__lr=0.01)
    assert hint not in told(optim__name="sgd", optim__lr=1e-3)
