"""What a rollout file may say."""

from pathlib import Path

import pytest

from lib.config.load import load
from lib.config.rollout import Rollout
from lib.config.serving import ServeConfig
from lib.errors import UserError


def read(tmp_path: Path, text: str) -> Rollout:
    path = tmp_path / "rollout.yaml"
    path.write_text(text)
    return load(Rollout, [str(path)]).config


def test_a_whole_one(tmp_path: Path) -> None:
    rollout = read(
        tmp_path,
        "bundle: a\ncandidates:\n- {bundle: b, weight: 0.05, shadow: 0.2}\n- {bundle: c, shadow: 1.0}\n"
        "rollback: {max_disagreement: 0.1}\n",
    )
    assert [each.weight for each in rollout.candidates] == [0.05, 0.0]
    assert rollout.rollback is not None
    assert (rollout.rollback.min_requests, rollout.rollback.max_error_fraction) == (100, 0.05)
    assert read(tmp_path, "{}\n") == Rollout()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("candidates: [{bundle: b, weigth: 0.1}]\n", "did you mean weight?"),
        ("candidates: [{bundle: b}]\n", "would see no request"),
        ("candidates: [{bundle: b, weight: 0.6}, {bundle: c, weight: 0.6}]\n", "sum to 1.2"),
        ("candidates: [{bundle: b, weight: 0.1}, {bundle: b, shadow: 0.6}]\n", "listed twice"),
        ("rollback: {}\n", "no effect without candidates"),
        (
            "candidates: [{bundle: b, weight: 0.1}]\nrollback: {max_disagreement: 0.1}\n",
            "give b a shadow",
        ),
    ],
)
def test_mistakes(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError, match=told.replace("?", r"\?")):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["serve.upscale_delay_s=1"], "upscale_delay_s has no effect: the number of replicas is fixed"),
        (["serve.start_timeout_s=9"], "start_timeout_s has no effect: serve.min_replicas is not 0"),
        (["serve.min_replicas=-1"], "min_replicas"),
        (["serve.placement=apart"], "fused, split"),
    ],
)
def test_options_of_scale_that_would_do_nothing(words: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        load(ServeConfig, ["bundle=b", *words])


def test_options_of_scale_that_do_something() -> None:
    values = {"min_replicas": 0, "max_replicas": 3, "upscale_delay_s": 1, "start_timeout_s": 9}
    words = [f"serve.{name}={value}" for name, value in values.items()]
    assert load(ServeConfig, ["bundle=b", *words]).config.serve.start_timeout_s == 9
