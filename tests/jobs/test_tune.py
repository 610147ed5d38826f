import json
import os
import signal
import time
from pathlib import Path

import pytest

from lib.train.state import load_state
from tests.jobs.conftest import Run
from tests.processes import finish_job, start_job, wait_until_gone

SMALL = ["data.threads=1", "model.name=lenet5", "augment.policy=none", "run.name=x"]
SEARCH = ["search.optim.lr.grid=[0.01, 0.003]", "search.run.seed.grid=[0, 1, 2]"]


def test_a_dry_run_shows_the_trials_and_starts_nothing(job: Run, digits: Path, tmp_path: Path) -> None:
    ended = job("tune", f"data.root={digits}", *SMALL, *SEARCH, "--dry-run")
    assert ended.code == 0, ended.err
    assert "trials    6" in ended.out
    assert "005-lr-0.003-seed-2" in ended.out
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_sentences(job: Run, digits: Path) -> None:
    ended = job("tune", f"data.root={digits}", *SMALL, "search.optim.lrs.grid=[1]")
    assert ended.code == 2
    assert "did you mean optim.lr?" in ended.err
    ended = job("tune", f"data.root={digits}", *SMALL, *SEARCH, "run.resume=lost")
    assert ended.code == 2
    assert "there is no such run" in ended.err


@pytest.mark.integration
def test_a_study_whose_driver_was_killed_goes_on_and_repeats_nothing(digits: Path, tmp_path: Path) -> None:
    words = [
        f"data.root={digits}",
        *SMALL,
        *SEARCH,
        "train.epochs=8",
        "train.batch_size=32",
        "run.trace=true",
    ]
    study = tmp_path / "runs/x"
    driver = start_job("jobs/tune.py", words, tmp_path)
    results: list[Path] = []
    ends = time.monotonic() + 300
    while len(results) < 2 and time.monotonic() < ends:
        time.sleep(0.05)
        results = sorted(study.glob("trials/*/result.json"))
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    assert wait_until_gone(tmp_path, timeout_s=60) == []  # the actors and their Ray end with it
    before = {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in study.glob("trials/*/result.json")
    }
    assert 2 <= len(before) < 6
    states = [load_state(path.parent) for path in study.glob("trials/*/state/last.pt")]
    assert states

    said = finish_job(start_job("jobs/tune.py", ["run.resume=x"], tmp_path))
    assert f"going on: {len(before)} trials will not be repeated" in said
    assert "study x is finished" in said
    after = {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in study.glob("trials/*/result.json")
    }
    assert len(after) == 6
    assert before.items() <= after.items()
    result = json.loads((study / "result.json").read_text())
    assert result["trials"] == {"finished": 6}
    assert len((study / "leaderboard.csv").read_text().splitlines()) == 7
    for path in before:  # one start of each, with all of its steps
        assert len(list((path.parent / "trace").glob("*.jsonl"))) == 1
    for path in after:
        lines = (path.parent / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 9))
