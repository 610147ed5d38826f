import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from lib.console import amount, block, duration, identify, run_job, say, show
from lib.errors import RunError, UserError


@pytest.fixture
def as_json(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MANTA_LOG", "json")
    yield
    identify(run=None, trial=None)


@pytest.mark.parametrize(("error", "code"), [(UserError("no", "do this"), 2), (RunError("no", "do this"), 1)])
def test_an_error_is_one_readable_message_and_its_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_job(fail)
    assert ended.value.code == code
    assert capsys.readouterr().err == "error: no\n  do this\n"


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_job(fail)


def test_the_closing_block_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    block("done", {"bundle": "/b", "next": "serve"})
    assert capsys.readouterr().out == "\ndone\n  bundle  /b\n  next    serve\n"


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 kB"),
        (12_345, "12 kB"),
        (1_000_000, "1.0 MB"),
        (9_940_000, "9.9 MB"),
        (1_234_567_890, "1,235 MB"),
    ],
)
def test_bytes_for_a_person(size_bytes: int, text: str) -> None:
    assert amount(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0s"), (59.4, "59s"), (130, "2m10s"), (11_100, "3h05m"), (3_599.6, "1h00m")]
)
def test_a_time_is_written_as_people_say_it(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_lines_for_machines_say_what_they_are_about(
    as_json: None, capsys: pytest.CaptureFixture[str]
) -> None:
    say("before")
    identify(run="search", trial="003-lr")
    say("  epoch 1/2\u2026")
    say()
    say("warning: the disk is full", trial="004")
    identify(trial=None)
    block("done", {"bundle": Path("/b"), "images": 7})
    show("{}")
    *lines, shown = capsys.readouterr().out.splitlines()
    assert shown == "{}"
    records = [json.loads(line) for line in lines]
    assert all(datetime.fromisoformat(record.pop("time")).tzinfo is not None for record in records)
    assert records == [
        {"level": "info", "message": "before"},
        {"level": "info", "message": "epoch 1/2\u2026", "run": "search", "trial": "003-lr"},
        {"level": "warning", "message": "warning: the disk is full", "run": "search", "trial": "004"},
        {"level": "info", "message": "done", "run": "search", "result": {"bundle": "/b", "images": 7}},
    ]


def test_an_error_for_machines_is_one_line_as_well(as_json: None, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        identify(run="photos")
        raise RunError("no room", "make some\nor stop")

    with pytest.raises(SystemExit) as ended:
        run_job(fail)
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert record.pop("time")
    assert record == {
        "level": "error",
        "message": "no room",
        "run": "photos",
        "hint": "make some\nor stop",
        "exit_code": 1,
    }


def test_another_format_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MANTA_LOG", "jsonl")
    with pytest.raises(SystemExit) as ended:
        run_job(lambda: say("never"))
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == (
        "",
        "error: MANTA_LOG=jsonl: there is no such format\n  give text or json\n",
    )
