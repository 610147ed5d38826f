from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib.config.schema import FinetuneConfig
from lib.errors import UserError
from lib.models.build import build_model
from lib.train.plan import plan_run
from lib.train.resume import check_unchanged, resume_words

Make = Callable[..., FinetuneConfig]


def test_a_plan_tells_what_will_happen(finetune_config: Make) -> None:
    plan = plan_run(finetune_config(model__name="resnet8", train__freeze="head"))
    told = "\n".join(plan.lines())
    assert "650 of 75,002 parameters" in told
    assert "1 x 32 x 32" in told
    assert f"1 epochs of {plan.stage(0).steps} steps" in told
    assert not plan.folder.exists()


def test_an_existing_run_is_never_overwritten(finetune_config: Make, tmp_path: Path) -> None:
    (tmp_path / "runs/run").mkdir(parents=True)
    with pytest.raises(UserError, match=r"run exists.*\n.*run.resume=run"):
        plan_run(finetune_config())


def test_a_missing_dataset_says_how_to_make_one(finetune_config: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such folder\npack one: python jobs/pack.py"):
        plan_run(finetune_config(data__root=str(tmp_path / "nowhere")))


def test_an_unknown_model_has_a_did_you_mean(finetune_config: Make) -> None:
    with pytest.raises(UserError, match="resnet18"):
        plan_run(finetune_config(model__name="resnet81"))


def test_weights_of_another_network_are_found_before_the_start(finetune_config: Make, tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save(build_model("resnet8", 10, channels=1, image_size=32).state_dict(), file)
    with pytest.raises(UserError, match="lenet5"):
        plan_run(finetune_config(model__weights=str(file)))


def test_fewer_samples_than_workers_is_refused(finetune_config: Make) -> None:
    with pytest.raises(UserError, match=r"fewer than run.num_workers=2000"):
        plan_run(finetune_config(run__num_workers=2000, train__batch_size=4000))


def test_an_unknown_policy_lists_the_known_ones(finetune_config: Make) -> None:
    with pytest.raises(UserError, match="standard"):
        plan_run(finetune_config(augment__policy="heavy"))


def test_class_weights_name_classes(finetune_config: Make) -> None:
    changes = {"data__sampling": "weighted", "data__class_weights": {"0": 2, "01": 3, "zero": 4}}
    with pytest.raises(UserError, match=r"data.class_weights.01: no such class; did you mean") as caught:
        plan_run(finetune_config(**changes))
    assert "data.class_weights.zero: no such class" in caught.value.problem
    assert "0, 1, 2" in caught.value.hint
    told = plan_run(finetune_config(data__sampling="class_balanced")).lines()
    assert "sampling  class_balanced" in told


def test_techniques_are_told_and_their_names_checked(finetune_config: Make, digits_bundle: Path) -> None:
    plain = "\n".join(plan_run(finetune_config()).lines())
    assert not any(f"\n{word}" in plain for word in ("loss ", "teacher ", "step "))
    changes = {
        "train__loss": "focal",
        "train__class_weights": {"3": 2},
        "train__accumulate": 4,
        "train__ema_decay": 0.99,
        "train__teacher": str(digits_bundle),
    }
    told = "\n".join(plan_run(finetune_config(**changes)).lines())
    assert "\nloss      focal, gamma 2, classes weighted\n" in told
    assert f"\nteacher   {digits_bundle} (weight 0.5, temperature 2)\n" in told
    assert "\nstep      in 4 pieces, weights averaged, decay 0.99\n" in told
    assert "for 16 images of 28 x 28 at a time" in told
    with pytest.raises(UserError, match=r"train.class_weights.x: no such class"):
        plan_run(finetune_config(train__class_weights={"x": 2}))


def test_a_teacher_is_found_wherever_the_workers_run(
    finetune_config: Make, digits_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(digits_bundle.parent)
    config = plan_run(finetune_config(train__teacher="bundle")).config
    assert config.train.teachers == [str(digits_bundle)]


def test_a_size_at_which_the_network_cannot_work_is_refused(finetune_config: Make) -> None:
    with pytest.raises(UserError, match="image_size=8"):
        plan_run(finetune_config(model__name="vgg11", model__image_size=8))


def test_resuming_puts_the_stored_configuration_before_the_keys(tmp_path: Path) -> None:
    stored = tmp_path / "x/config.yaml"
    stored.parent.mkdir()
    stored.write_text("train:\n  epochs: 3\n")
    words = ["preset.yaml", f"run.storage={tmp_path}", "run.resume=x", "train.epochs=5"]
    assert resume_words(words) == ["preset.yaml", str(stored), *words[1:]]
    assert resume_words(["preset.yaml", "run.name=x"]) == ["preset.yaml", "run.name=x"]


def test_resuming_an_unknown_run_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "known").mkdir()
    (tmp_path / "known/config.yaml").write_text("")
    with pytest.raises(UserError, match=r"there is no such run\n.*known"):
        resume_words([f"run.storage={tmp_path}", "run.resume=lost"])


def test_a_run_that_has_begun_keeps_what_decides_its_steps(finetune_config: Make, tmp_path: Path) -> None:
    from lib.config.load import to_yaml

    stored = tmp_path / "config.yaml"
    stored.write_text(to_yaml(finetune_config()))
    check_unchanged(finetune_config(train__epochs=9, run__num_workers=2), tmp_path)
    # What a run that was out of memory is told to change.
    check_unchanged(finetune_config(train__accumulate=4, train__compile=False), tmp_path)
    with pytest.raises(UserError, match=r"optim.lr: began with 0.001, now 0.1"):
        check_unchanged(finetune_config(optim__lr=0.1), tmp_path)
    weighted = finetune_config(data__sampling="weighted", data__class_weights={"3": 2})
    with pytest.raises(
        UserError, match=r"data.sampling: began with uniform.*\n.*class_weights: .* {'3': 2.0}"
    ):
        check_unchanged(weighted, tmp_path)
