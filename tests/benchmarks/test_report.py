import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from lib.config.section import Count, Section
from lib.errors import UserError


class Settings(Section):
    """Settings of a benchmark that is none."""

    rounds: Count = 3
    """How often."""


@pytest.fixture(scope="module")
def report() -> ModuleType:
    # Benchmarks are scripts: they find each other through sys.path[0], not as a package.
    path = Path(__file__).parents[2] / "benchmarks/report.py"
    spec = importlib.util.spec_from_file_location("report", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_settings_are_words(report: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["scale.py", "rounds=5"])
    assert report.read_settings(Settings, "scale", "Nothing.").rounds == 5
    monkeypatch.setattr("sys.argv", ["scale.py", "round=5"])
    with pytest.raises(UserError, match="did you mean rounds"):
        report.read_settings(Settings, "scale", "Nothing.")
    monkeypatch.setattr("sys.argv", ["scale.py", "--dry-run"])
    with pytest.raises(UserError, match="no plan to show"):
        report.read_settings(Settings, "scale", "Nothing.")


def test_numbers_stand_right_and_text_left(report: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    report.print_table("loading", ["what", "images/s"], [["ours", 1234.5678], ["theirs too", 0.123456]])
    assert capsys.readouterr().out.splitlines() == [
        "",
        "loading",
        "  what        images/s",
        "  ours           1,235",
        "  theirs too    0.1235",
    ]


def test_the_last_line_is_for_machines(report: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    report.finish("scale", ratios={"flat": 0.99}, absolute={"startup_s": {"10": 0.5}})
    *_, told, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    assert result["benchmark"] == "scale"
    assert result["ratios"] == {"flat": 0.99}
    assert result["absolute"] == {"startup_s": {"10": 0.5}}
    assert result["hardware"]["cores"] >= 1
    assert told.startswith("hardware  cpu ")
