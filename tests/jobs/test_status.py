from pathlib import Path

import pytest

from tests.jobs.conftest import Run
from tests.pages import served_pages

PAGE = b"""# HELP ray_manta_train_running 1 while a run goes on, 0 once it has ended.
# TYPE ray_manta_train_running gauge
ray_manta_train_running{SessionName="s",WorkerId="7",run="photos"} 1.0
ray_manta_train_epoch{SessionName="s",WorkerId="7",run="photos"} 1.5
ray_manta_train_epochs{SessionName="s",WorkerId="7",run="photos"} 4.0
ray_node_cpu_count{SessionName="s"} 2.0
"""


def test_what_nodes_export_is_shown(job: Run) -> None:
    with served_pages() as node:
        node.pages["/metrics"] = PAGE
        ended = job("status", f"metrics=[{node.address}]", "seconds=1")
    assert ended.code == 0, ended.err
    title, columns, row, *rest = ended.out.splitlines()[1:]
    assert title == "training"
    assert columns.split()[:3] == ["run", "is", "epoch"]
    assert row.split()[:3] == ["photos", "waiting", "1.50/4"]
    assert rest == ["serving: none"]


def test_where_nothing_answers_is_a_sentence(job: Run) -> None:
    with served_pages() as node:
        ended = job("status", f"metrics=[{node.address}]", "seconds=1")
    assert ended.code == 1
    assert ended.err.startswith(f"error: no metrics at {node.address}")


def test_the_rays_of_this_machine_are_found_by_what_they_note(
    job: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    none = job("status", "--dry-run")
    assert none.code == 2
    assert "no Ray runs on this machine" in none.err
    with served_pages() as node:
        session = tmp_path / "ray/session_2026"
        session.mkdir(parents=True)
        (session / "metrics_export_port_ab12").write_text(node.address.rpartition(":")[2])
        (session / "metrics_export_port_cd34").write_text("-1")
        found = job("status", "--dry-run")
    assert f"reading {node.address} for 10 s" in found.out


@pytest.mark.parametrize("word", ["metrics=[http://host:80]", "metrics=[host]", "seconds=0"])
def test_a_wrong_word_is_refused(job: Run, word: str) -> None:
    assert job("status", word, "--dry-run").code == 2
