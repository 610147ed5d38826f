"""`ray start --head` in the checkout and `ray job submit`, with and without an uploaded working directory."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.conftest import free_port

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Head:
    address: str
    home: Path
    environment: dict[str, str]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A Ray head as a user starts it, ended by its process group."""
    home = tmp_path_factory.mktemp("home")
    # Ray's sockets need a short path.
    temp = tempfile.mkdtemp(prefix="mr")
    port = free_port()
    environment = os.environ | {
        "HOME": str(home),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
    }
    environment.pop("MANTA_HOME", None)
    options = {
        "node-ip-address": "127.0.0.1",
        "port": free_port(),
        "dashboard-port": port,
        # Another Ray on this machine may have the usual ones.
        "dashboard-agent-listen-port": free_port(),
        "ray-client-server-port": free_port(),
        "temp-dir": temp,
        "num-cpus": 2,
    }
    command = [str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with (home / "ray.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    ends = time.monotonic() + 120
    while True:
        try:
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            direct.open(f"{address}/api/version", timeout=2).close()
            break
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, (home / "ray.log").read_text()
            assert time.monotonic() < ends, (home / "ray.log").read_text()
            time.sleep(0.5)
    yield Head(address, home, environment)
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    for pid in family:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(temp, ignore_errors=True)


def submit(head: Head, *words: str) -> str:
    ended = subprocess.run(
        [str(BIN / "ray"), "job", "submit", "--address", head.address, *words],
        cwd=ROOT,
        env=head.environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.integration
def test_a_job_with_the_checkout_as_working_directory(head: Head) -> None:
    said = submit(
        head, "--working-dir", ".", "--",
        "python", "jobs/finetune.py", "jobs/presets/digits.yaml", "run.name=x", "train.epochs=3",
    )  # fmt: skip
    # Results survive the copy of the working directory that Ray made and deletes.
    bundle = head.home / "manta/runs/x/bundle"
    assert (bundle / "bundle.json").exists()
    assert str(bundle) in said
    assert (head.home / "manta/runs/datasets/digits/dataset.json").exists()


@pytest.mark.integration
def test_a_job_with_the_package_installed(head: Head) -> None:
    submit(
        head, "--", "env", f"MANTA_HOME={head.home / 'installed'}",
        "python", "jobs/finetune.py", "jobs/presets/digits.yaml", "run.name=y", "train.epochs=1",
    )  # fmt: skip
    assert (head.home / "installed/runs/y/result.json").exists()
