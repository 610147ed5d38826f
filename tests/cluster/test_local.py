"""python -m cluster.local: a Ray comes up with a token and metrics, takes a job, and goes without a trace."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from cluster.local.head import check_port, command, start, stop
from cluster.local.members import end, mark, members, wait
from lib.config.clusters import LocalConfig
from lib.config.load import load
from lib.errors import UserError
from lib.ports import free_ports
from tests.conftest import free_port

ROOT = Path(__file__).parents[2]
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def local(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "cluster.local", *words], cwd=ROOT, capture_output=True, text=True, timeout=300
    )


def get(url: str, **headers: str) -> bytes:
    with DIRECT.open(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return bytes(answer.read())


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; what has ended may wait for a parent to ask for its exit code."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.integration
def test_it_comes_up_takes_a_job_and_goes_without_a_trace(tmp_path: Path) -> None:
    folder, metrics = tmp_path / "ray", free_port()
    words = [f"port={free_port()}", f"dashboard_port={free_port()}", f"metrics_port={metrics}", "num_cpus=1"]
    try:
        up = local("up", f"folder={folder}", *words)
        assert up.returncode == 0, up.stdout + up.stderr
        running = {psutil.Process(each.pid) for each in members(folder)}
        temporary = Path((folder / "temporary").read_text())

        # What one sources: a shell of its own says what it sets.
        listed = subprocess.run(
            ["bash", "-c", f"source {shlex.quote(str(folder / 'env'))}; env"],
            env={"PATH": os.environ["PATH"], "RAY_AUTH_TOKEN": "of another Ray"},
            capture_output=True,
            text=True,
            check=True,
        )
        joins = dict(line.split("=", 1) for line in listed.stdout.splitlines() if line.startswith("RAY_"))
        code = "import os, ray; ray.init(); print('cores', ray.cluster_resources()['CPU'])"
        job = subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--", sys.executable, "-c", code],
            env=os.environ | joins,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert job.returncode == 0, job.stdout + job.stderr
        assert "cores 1.0" in job.stdout

        dashboard, token = joins["RAY_API_SERVER_ADDRESS"], Path(joins["RAY_AUTH_TOKEN_PATH"])
        assert token.stat().st_mode & 0o077 == 0
        assert b"raysubmit_" in get(f"{dashboard}/api/jobs/", Authorization=f"Bearer {token.read_text()}")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(f"{dashboard}/api/jobs/")
        assert b"ray_node_cpu_count" in get(f"http://127.0.0.1:{metrics}/metrics")
        # Known, though their variables are gone: what shows a title.
        assert {"raylet", "ray::DashboardAgent"} <= {each.cmdline()[0].rpartition("/")[2] for each in running}
        listening = {
            each.laddr.ip
            for process in running
            for each in process.net_connections()
            if each.status == psutil.CONN_LISTEN
        }
        assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}

        with pytest.raises(UserError, match=f"a Ray of {folder} is running"):
            start(LocalConfig(folder=str(folder)))
    finally:
        down = local("down", f"folder={folder}")
    assert down.returncode == 0, down.stderr
    assert members(folder) == set()
    assert [each for each in running if is_alive(each)] == []
    assert not temporary.exists()
    assert sorted(path.name for path in folder.iterdir()) == ["logs", "ray.log"]
    assert list(folder.glob("logs/session_*/raylet.out"))
    assert stop(folder) == 0


@pytest.mark.integration
def test_what_does_not_heed_sigterm_is_killed_and_others_are_left_alone(tmp_path: Path) -> None:
    # Its child has another session and no variables, as a worker of Ray may.
    deaf = "trap '' TERM; env -i setsid sleep 100 & echo deaf; while :; do sleep 0.1; done"

    def run(folder: Path) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            ["bash", "-c", deaf],
            env=os.environ | mark(folder),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "deaf\n"
        return process

    mine, other = run(tmp_path / "one"), run(tmp_path / "other")
    child = psutil.Process(mine.pid).children()[0]
    try:
        assert end(tmp_path / "one", patience_s=0.5) >= 2
        assert mine.wait(timeout=30) == -signal.SIGKILL
        assert not is_alive(child)
        assert other.poll() is None
    finally:
        assert end(tmp_path / "other", patience_s=0) >= 2
        for process in (mine, other):
            process.communicate(timeout=30)


def test_waiting_ends() -> None:
    assert wait(lambda: True, 0)
    assert not wait(lambda: False, 0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["port=80"], "port=80"),
        (["port=12000"], "12000 is among the ports of Ray's workers"),
        (["port=8265"], "dashboard_port=8265 is port too"),
        (["num_cpus=0"], "num_cpus=0"),
        (["num_cpu=2"], "did you mean num_cpus"),
        (["object_store_mb=1"], "object_store_mb=1"),
    ],
)
def test_what_cannot_work_is_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as error:
        load(LocalConfig, words)
    assert sentence in str(error.value)


def test_a_port_that_is_taken_is_named_with_its_key() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=r"dashboard_port=.*in use"):
            check_port("dashboard_port", taken.getsockname()[1])


def test_the_command_is_that_of_ray_start_for_loopback_alone() -> None:
    words = command(LocalConfig(num_cpus=3, object_store_mb=100), "/tmp/x", free_ports(2))
    assert words[3:6] == ["start", "--head", "--block"]
    assert {"--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--num-cpus=3"} <= set(words)
    assert "--object-store-memory=100000000" in words
    assert not any(word.startswith("--num-gpus") for word in words)


@pytest.mark.integration
def test_where_nothing_runs(tmp_path: Path) -> None:
    assert "nothing was running" in local("down", f"folder={tmp_path}").stdout
    status = local("status", f"folder={tmp_path}")
    assert status.returncode == 1
    assert f"python -m cluster.local up folder={tmp_path}" in status.stderr


@pytest.mark.integration
def test_a_wrong_verb_is_refused() -> None:
    for words in ([], ["start"]):
        refused = local(*words)
        assert refused.returncode == 2
        assert "up | status | down" in refused.stderr
