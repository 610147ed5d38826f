"""Prometheus and Grafana as processes of this machine, for loopback only.

start(ObserveConfig())          # {"prometheus": "http://127.0.0.1:9090"}
stop(Path("runs/observe"))      # 1 process has ended
"""

import os
import shutil
import subprocess
from pathlib import Path

from cluster.ask import answers
from cluster.local.head import check_port
from cluster.local.members import end, mark, members, wait
from cluster.observe.settings import write_settings
from lib.config.clusters import ObserveConfig
from lib.errors import RunError, UserError
from lib.files import make_folder

# Where packages put what Grafana shows; the program does not find it by itself.
_GRAFANA_HOME = "/usr/share/grafana"
# What answers once they are up.
_HEALTH = {"prometheus": "-/ready", "grafana": "api/health"}


def start(config: ObserveConfig) -> dict[str, str]:
    """Start what is installed and wait until it answers; return the address of each.

    Raises UserError if Prometheus is missing or runs, or a port is taken; RunError if one does not start.
    """
    folder = Path(config.folder).absolute()
    if members(folder):
        raise UserError(f"a Prometheus of {folder} is running", "python -m cluster.observe down ends it")
    commands = _commands(config, folder)
    for key in ("port", "grafana_port")[: len(commands)]:
        check_port(key, getattr(config, key))
    make_folder(folder)
    write_settings(config, folder)
    ports = {"prometheus": config.port, "grafana": config.grafana_port}
    urls = {name: f"http://127.0.0.1:{ports[name]}" for name in commands}
    try:
        for name, command in commands.items():
            _start(command, folder, f"{urls[name]}/{_HEALTH[name]}", config.start_timeout_s)
    except BaseException:  # Ctrl-C too
        stop(folder)
        raise
    return urls


def _commands(config: ObserveConfig, folder: Path) -> dict[str, list[str]]:
    prometheus, grafana = shutil.which("prometheus"), shutil.which("grafana")
    if prometheus is None:
        hint = "apt-get install prometheus, or put the program on PATH"
        raise UserError("there is no program called prometheus", hint)
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "storage.tsdb.retention.time": f"{config.keep_days}d",
        "web.listen-address": f"127.0.0.1:{config.port}",
        "log.level": "warn",
    }
    commands = {"prometheus": [prometheus, *(f"--{name}={value}" for name, value in options.items())]}
    if grafana is not None:
        where = ["--homepath", _GRAFANA_HOME, "--config", str(folder / "grafana.ini")]
        commands["grafana"] = [grafana, "server", *where]
    return commands


def _start(command: list[str], folder: Path, url: str, timeout_s: float) -> None:
    """Start one of them, and wait until it answers."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command,
            env=os.environ | mark(folder),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    is_up = wait(lambda: process.poll() is not None or answers(url, ""), timeout_s)
    if process.returncode is not None:
        said = log.read_text(errors="replace").strip().splitlines()
        raise RunError(f"it did not start: {said[-1] if said else 'no word of it'}", f"see {log}")
    if not is_up:
        raise RunError(f"{url} does not answer after {timeout_s:g} s", f"see {log}")


def stop(folder: Path, patience_s: float = 30.0) -> int:
    """End what runs of a folder; return how many processes there were. What was read is kept."""
    return end(folder.absolute(), patience_s)
