import json
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
import urllib3

from lib.track import tracker
from lib.track.tracker import Tracker, figures

HISTORY = [
    {"epoch": epoch, "step": epoch * 10, "lr": 0.1, "train": {"loss": 1 / epoch}, "val": {"accuracy": 0.5}}
    for epoch in (1, 2, 3)
]


class Collected:
    """A sink that keeps what it gets."""

    name = "collected"

    def __init__(self) -> None:
        self.opened: list[str | None] = []
        self.sent: list[tuple[int, dict[str, float]]] = []
        self.ended: list[bool] = []

    def open(self, run_id: str | None) -> str:
        self.opened.append(run_id)
        return run_id or "run-7"

    def send(self, step: int, figures: Mapping[str, float]) -> None:
        self.sent.append((step, dict(figures)))

    def close(self, *, is_finished: bool) -> None:
        self.ended.append(is_finished)


class Posted(Collected):
    """A sink behind a real address, on which the library waits for as long as it takes."""

    name = "posted"

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port

    def open(self, run_id: str | None) -> str:
        urllib3.request("POST", f"http://127.0.0.1:{self.port}/runs", retries=False)
        return super().open(run_id)


def test_figures_are_flat() -> None:
    assert figures(HISTORY[1]) == {"epoch": 2.0, "lr": 0.1, "train/loss": 0.5, "val/accuracy": 0.5}


def test_every_epoch_arrives_once_and_then_the_final_metrics(tmp_path: Path) -> None:
    sink, said = Collected(), []
    tracked = Tracker([sink], tmp_path / "track.json", said.append)
    for end in (1, 2, 3):
        tracked.update(HISTORY[:end])
    tracked.close({"test": {"accuracy": 0.9}})
    assert [step for step, _ in sink.sent] == [10, 20, 30, 30]
    assert sink.sent[2][1]["train/loss"] == pytest.approx(1 / 3)
    assert sink.sent[-1][1] == {"final/test/accuracy": 0.9}
    assert (sink.opened, sink.ended, said) == ([None], [True], [])


def test_a_run_that_starts_again_goes_on_with_its_curves(tmp_path: Path) -> None:
    first, second = Collected(), Collected()
    tracked = Tracker([first], tmp_path / "track.json", print)
    tracked.update(HISTORY[:2])
    tracked.close(None)
    assert first.ended == [False]
    assert json.loads((tmp_path / "track.json").read_text()) == {"collected": {"run": "run-7", "sent": 2}}
    tracked = Tracker([second], tmp_path / "track.json", print)
    tracked.update(HISTORY)
    tracked.close({})
    assert second.opened == ["run-7"]
    assert [step for step, _ in second.sent] == [30, 30]


def test_what_fails_is_one_warning_and_is_sent_later(tmp_path: Path) -> None:
    class Fails(Collected):
        tried = threading.Semaphore(0)
        works = False

        def send(self, step: int, figures: Mapping[str, float]) -> None:
            try:
                if not self.works:
                    raise ValueError("no such\nserver")
                super().send(step, figures)
            finally:
                self.tried.release()

    sink, said = Fails(), []
    tracked = Tracker([sink], tmp_path / "track.json", said.append)
    for end in (1, 2):
        tracked.update(HISTORY[:end])
        assert sink.tried.acquire(timeout=30)
    sink.works = True
    tracked.update(HISTORY)
    tracked.close({})
    assert [step for step, _ in sink.sent] == [10, 20, 30, 30]
    assert said == [
        "warning: track.collected: ValueError: no such; training goes on, metrics.jsonl has all figures"
    ]


def test_a_server_that_refuses_is_one_warning(tmp_path: Path, port_that_refuses: int) -> None:
    said: list[str] = []
    tracked = Tracker([Posted(port_that_refuses)], tmp_path / "track.json", said.append)
    tracked.update(HISTORY[:1])
    tracked.update(HISTORY)
    tracked.close({})
    assert len(said) == 1
    assert "refused" in said[0]


def test_a_server_that_hangs_is_one_warning_and_holds_nobody_up(
    tmp_path: Path, port_that_hangs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "_LAST_WAIT_S", 0.3)
    said: list[str] = []
    hanging, other = Posted(port_that_hangs), Collected()
    tracked = Tracker([hanging, other], tmp_path / "track.json", said.append)
    tracked.update(HISTORY)
    tracked.close({})  # returns although the request never ends
    assert [step for step, _ in other.sent] == [10, 20, 30, 30]
    assert hanging.sent == []
    assert [line.partition(";")[0] for line in said] == ["warning: track.posted: does not answer"]


def test_a_damaged_memory_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "track.json").write_text("{")
    sink = Collected()
    tracked = Tracker([sink], tmp_path / "track.json", print)
    tracked.close({})
    assert sink.opened == [None]
