from pathlib import Path

import pytest

from lib.errors import GateError
from lib.track.job import reported
from lib.track.job_metrics import JOBS
from lib.track.scrape import Snapshot, snapshot
from tests.pages import served_pages

RESULT = {
    "metrics": {"val": {"num_samples": 20, "accuracy": 0.9}, "test": {"num_samples": 10, "accuracy": 0.8}},
    "bad_samples": 1,
}


def read(page: bytes) -> Snapshot:
    """Return what Prometheus would read, and hold the names against the table."""
    found = snapshot([page.decode()], at=0)
    assert set(found.series) == set(JOBS)
    return found


def test_what_a_job_did_is_left_in_a_folder_for_node_exporter(tmp_path: Path) -> None:
    with reported("evaluate", "photos", str(tmp_path / "new")) as report:
        report.take(RESULT)
    (file,) = (tmp_path / "new").iterdir()
    assert file.name == "manta-evaluate.prom"
    found = read(file.read_bytes())
    of = {"task": "evaluate", "subject": "photos"}
    assert found.total("job_success", **of) == 1
    assert found.total("job_images", **of) == 30
    assert found.total("job_bad_samples", **of) == 1
    assert found.total("job_accuracy", **of, split="test") == 0.8
    assert found.total("job_seconds", **of) > 0
    assert found.total("job_ended_timestamp_seconds", **of) > 1.7e9


def test_a_push_gateway_is_told_under_the_name_of_the_task() -> None:
    with served_pages() as gateway:
        with reported("pack", "photos", f"http://{gateway.address}") as report:
            report.images = 7
        with reported("pack", "others", f"http://{gateway.address}/") as report:
            report.images = 8
    assert list(gateway.pages) == ["/metrics/job/manta-pack"]
    page = gateway.pages["/metrics/job/manta-pack"].decode()
    assert 'manta_job_images{subject="others",task="pack"} 8.0' in page
    assert "photos" not in page


@pytest.mark.parametrize("error", [GateError("no", "more"), ZeroDivisionError(), SystemExit(143)])
def test_a_job_that_failed_says_so(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), reported("predict", "inbox", str(tmp_path)):
        raise error
    page = (tmp_path / "manta-predict.prom").read_text()
    assert 'manta_job_success{subject="inbox",task="predict"} 0.0' in page


def test_a_gate_that_was_not_passed_is_no_success(tmp_path: Path) -> None:
    with reported("evaluate", "photos", str(tmp_path)) as report:
        report.take(RESULT | {"gate": {"passed": False}})
    assert read((tmp_path / "manta-evaluate.prom").read_bytes()).total("job_success") == 0


def test_a_gateway_that_refuses_is_a_warning(
    port_that_refuses: int, capsys: pytest.CaptureFixture[str]
) -> None:
    target = f"http://127.0.0.1:{port_that_refuses}"
    with reported("pack", "photos", target):
        pass
    assert capsys.readouterr().out.startswith(f"warning: track.prometheus={target}: ")


def test_a_folder_that_cannot_be_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with reported("pack", "photos", str(tmp_path / "file/folder")):
        pass
    assert "Not a directory" in capsys.readouterr().out
