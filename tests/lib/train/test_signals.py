"""Runs that somebody stops: with SIGTERM, with Ctrl-C, in mid-epoch and while they measure."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from lib.config.schema import FinetuneConfig
from lib.errors import RunError
from lib.train.launch import launch
from lib.train.loop import Trainer
from lib.train.plan import plan_run
from lib.train.signals import heeded_signals
from lib.train.state import load_state

Make = Callable[..., FinetuneConfig]


def stop_in(monkeypatch: pytest.MonkeyPatch, method: str, call: int, number: int) -> None:
    """Send this process a signal in the n-th call, from 1, of a method of the trainer."""
    calls = iter(range(1, 10_000))
    real = getattr(Trainer, method)

    def called(*args: object) -> object:
        if next(calls) == call:
            os.kill(os.getpid(), number)
        return real(*args)

    monkeypatch.setattr(Trainer, method, called)


def weights(folder: Path) -> dict[str, object]:
    return load_file(folder / "bundle/model.safetensors")


@pytest.mark.parametrize(
    ("number", "code", "method", "call", "where", "position"),
    [
        # The wish is sent beside the next step and followed after it.
        (signal.SIGTERM, 143, "_step", 3, "in epoch 1 after step 4", (0, 4)),
        (signal.SIGINT, 130, "_step", 4, "in epoch 1 after step 5", (0, 5)),
        # In the last step of an epoch: nothing is measured before the state is written.
        (signal.SIGTERM, 143, "_step", 22, "in epoch 1 after step 23", (0, 23)),
        (signal.SIGTERM, 143, "outcomes", 1, "after epoch 1", (1, 0)),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_bits(
    finetune_config: Make,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
    method: str,
    call: int,
    where: str,
    position: tuple[int, int],
) -> None:
    common = {"train__epochs": 2, "train__checkpoint_every_s": 0.0}
    straight = plan_run(finetune_config(**common, run__name="straight"))
    assert straight.stages[0].steps == 23
    launch(straight)
    plan = plan_run(finetune_config(**common, run__name="stopped"))
    with monkeypatch.context() as patch:
        stop_in(patch, method, call, number)
        with pytest.raises(RunError) as caught:
            launch(plan)
    assert caught.value.exit_code == code
    assert caught.value.problem == f"the run stopped was stopped {where}"
    assert caught.value.hint == "go on with run.resume=stopped"
    assert f"{number.name}: the run stops after its next step; once more: at once" in capfd.readouterr().err
    state = load_state(plan.state_folder)
    assert state is not None
    assert (state.epoch, state.step) == position
    assert not (plan.folder / "result.json").exists()
    launch(plan)
    before, after = weights(straight.folder), weights(plan.folder)
    assert all((before[name] == after[name]).all() for name in before)


def test_a_second_signal_ends_the_process_at_once() -> None:
    with heeded_signals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.first is signal.SIGINT
        with pytest.raises(SystemExit) as caught:
            os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 143


def test_the_handlers_of_the_process_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with heeded_signals():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_an_error_without_a_signal_keeps_its_exit_code() -> None:
    with pytest.raises(RunError) as caught, heeded_signals():
        raise RunError("the loss became nan")
    assert caught.value.exit_code == 1
