"""A Ray head on this machine, as `ray start --head` starts it: with a token, metrics, and for loopback only.

start(LocalConfig())["RAY_ADDRESS"]         # "127.0.0.1:6379"
stop(Path("runs/cluster"))                  # 12 processes have ended
"""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from cluster.ask import answers
from cluster.local.members import end, mark, members, wait
from lib.config.clusters import LocalConfig
from lib.errors import RunError, UserError
from lib.files import make_folder, write_text
from lib.ports import free_ports

# Ray then takes the loopback interface, as it does on a Mac; giving it 127.0.0.1 as an address is not enough.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Where Ray says what Prometheus may read, in its temporary folder, which is another one each time.
_TARGETS = "prom_metrics_service_discovery.json"


def start(config: LocalConfig) -> dict[str, str]:
    """Start Ray and wait until it takes jobs; return the variables that join it, also written to FOLDER/env.

    Raises UserError if it runs already or a port is taken, RunError if it does not come up.
    """
    folder = Path(config.folder).absolute()
    if members(folder):
        down = f"python -m cluster.local down folder={config.folder}"
        hint = f"join it: source {folder / 'env'}; or end it: {down}"
        raise UserError(f"a Ray of {folder} is running", hint)
    for key in ("port", "dashboard_port", "metrics_port"):
        check_port(key, getattr(config, key))
    make_folder(folder)
    _keep_logs(folder)  # of one that ended with the machine
    joins = _LOOPBACK | {
        "RAY_ADDRESS": f"127.0.0.1:{config.port}",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{config.dashboard_port}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(_write_token(folder)),
    }
    try:
        _start(config, folder, _environment(folder) | joins)
    except BaseException:  # Ctrl-C too: half a Ray is nothing to leave behind.
        stop(folder)
        raise
    lines = [f"export {name}={quote(value)}" for name, value in joins.items()]
    (folder / "targets.json").unlink(missing_ok=True)
    (folder / "targets.json").symlink_to(Path((folder / "temporary").read_text()) / _TARGETS)
    # Ray would take this one before the file.
    write_text(folder / "env", "\n".join(["unset RAY_AUTH_TOKEN", *lines, ""]))
    return joins


def _start(config: LocalConfig, folder: Path, environment: dict[str, str]) -> None:
    """Start the processes and wait for them."""
    # Ray's sockets need a short path, and what others may not enter.
    temporary = tempfile.mkdtemp(prefix="manta-ray-")
    write_text(folder / "temporary", temporary)
    log = folder / "ray.log"
    # What Ray is to listen on later is free now, and may be found.
    ports = free_ports(2, besides={config.port, config.dashboard_port, config.metrics_port})
    with log.open("w") as stream:
        process = subprocess.Popen(
            command(config, temporary, ports),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    token, urls = (folder / "token").read_text(), _urls(config, ports[0])

    def is_decided() -> bool:
        return process.poll() is not None or all(answers(url, token) for url in urls)

    where = f"see {log} and {folder / 'logs'}"
    if not wait(is_decided, config.start_timeout_s):
        raise RunError(f"Ray is not up after {config.start_timeout_s:g} s", where)
    if process.returncode is not None:
        raise RunError(f"Ray did not start: {_reason(log)}", where)


def command(config: LocalConfig, temporary: str, ports: Sequence[int]) -> list[str]:
    """Return the command of Ray's head; `ports` are for what has a fixed one that another Ray may have taken.

    Without its agent's port a Ray comes up and never takes a job.
    """
    agent, client = ports
    options = {
        "node-ip-address": "127.0.0.1",
        "port": config.port,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": config.dashboard_port,
        "metrics-export-port": config.metrics_port,
        "dashboard-agent-listen-port": agent,
        "ray-client-server-port": client,
        "temp-dir": temporary,
        "num-cpus": config.num_cpus,
        "num-gpus": config.num_gpus,
        "object-store-memory": "auto" if config.object_store_mb == "auto" else config.object_store_mb * 10**6,
    }
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    return ray + [f"--{name}={value}" for name, value in options.items() if value != "auto"]


def _urls(config: LocalConfig, agent_port: int) -> list[str]:
    """Return what answers when Ray takes jobs: dashboard, metrics, and the agent, which starts them."""
    paths = {
        config.dashboard_port: "api/jobs/",
        agent_port: "api/local_raylet_healthz",
        config.metrics_port: "metrics",
    }
    return [f"http://127.0.0.1:{port}/{path}" for port, path in paths.items()]


def check_port(key: str, port: int) -> None:
    """Raise UserError if something listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"{key}={port}: {error.strerror}", f"give another: {key}=PORT") from None


def stop(folder: Path, patience_s: float = 30.0) -> int:
    """End the Ray of a folder and all that it started; return how many processes there were.

    Its logs move to FOLDER/logs, and its temporary folder and its token go.
    """
    folder = folder.absolute()
    running = end(folder, patience_s)
    _keep_logs(folder)
    for name in ("env", "targets.json", "token", "temporary"):
        (folder / name).unlink(missing_ok=True)
    return running


def _reason(log: Path) -> str:
    """Find the sentence in what Ray said, which is mostly a traceback."""
    said = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in said if re.match(r"(\w+\.)*\w*Error: ", line)]
    return [*said[-1:], *errors][-1] if said else "no word of it"


def _environment(folder: Path) -> dict[str, str]:
    """This process's environment, without what would make the new Ray join or obey another one."""
    others = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_TMPDIR")
    return {name: value for name, value in os.environ.items() if name not in others} | mark(folder)


def _write_token(folder: Path) -> Path:
    path = folder / "token"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(secrets.token_hex(32))
    return path


def _keep_logs(folder: Path) -> None:
    """Move the logs of the session to FOLDER/logs/SESSION, and remove Ray's temporary folder."""
    noted = folder / "temporary"
    if not noted.exists():
        return
    temporary = Path(noted.read_text())
    session = (temporary / "session_latest").resolve()
    if (session / "logs").is_dir():
        shutil.copytree(session / "logs", folder / "logs" / session.name, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(temporary, ignore_errors=True)
