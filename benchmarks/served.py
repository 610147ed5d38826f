"""A server that is started, and asked in turns with others, which are stopped meanwhile.

with started(command, load, folder, environment) as server:
    turn = server.measure(connections=16, seconds=5, arrivals="random", seed=0)
    turn.rps, turn.latency_ms, turn.latency_ms_at_60
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from child import Child, ChildError, environment_without

from lib.runtime import ENVIRONMENT

_LOAD_FRACTION = 0.6
# Enough connections for requests that come at random moments never to wait for one.
_OPEN_CONNECTIONS = 64
_START_S = 180.0
# What had to wait while a server was stopped is done before it is measured: Serve's controller alone takes a
# tenth of a core for some seconds.
_SETTLE_S = 6.0
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Turn:
    """What came of a server's turn."""

    rps: float
    latency_ms: list[float]
    """Of each request, saturated."""
    latency_ms_at_60: list[float]
    """Of each request, at 60 % of that load."""


@dataclass(frozen=True)
class Served:
    """A server, and what is typed to load it."""

    child: Child
    load: list[str]

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let it run; left, it is stopped."""
        self.child.resume()
        time.sleep(_SETTLE_S)
        try:
            yield
        finally:
            self.child.pause()

    def measure(self, connections: int, seconds: float, arrivals: str, seed: int) -> Turn:
        """Saturate it, then load it in part; ChildError if a request was not answered."""
        with self.awake():
            full = send(self.load, connections, seconds)
            words = [f"arrivals={arrivals}", f"seed={seed}"]
            part = send([*self.load, *words], _OPEN_CONNECTIONS, seconds, _LOAD_FRACTION * full["rps"])
        return Turn(full["rps"], full["latency_ms"], part["latency_ms"])


@contextmanager
def started(
    command: list[str], load: list[str], out: Path, environment: Mapping[str, str]
) -> Iterator[Served]:
    """Start a server, and stop it once it answers; raises `ChildError` if it does not."""
    with Child(command, out, environment) as child:
        child.wait_until(lambda: answers(load), _START_S)
        child.pause()
        yield Served(child, load)


def load_command(port: int, body: Path, kind: str) -> list[str]:
    """Return what is typed to load a server."""
    url = f"http://127.0.0.1:{port}/predict"
    return [sys.executable, str(_HERE / "load.py"), url, str(body), f"type={kind}"]


def server_environment() -> dict[str, str]:
    """Return the environment of a server: as a user has it."""
    environment = environment_without(ENVIRONMENT) | {"PYTHONPATH": str(_HERE.parent)}
    environment.pop("RAY_ADDRESS", None)
    return environment


def answers(load: list[str]) -> bool:
    """Tell whether a server takes the picture."""
    try:
        return send(load, 1, 0.6)["rps"] > 0
    except ChildError:
        return False


def send(load: list[str], connections: int, seconds: float, rate: float = 0.0) -> dict[str, Any]:
    """Send requests from a process of its own; ChildError if one was not answered, or none was."""
    words = [f"connections={connections}", f"seconds={seconds}", f"rate={rate}"]
    done = subprocess.run([*load, *words], capture_output=True, text=True)
    if done.returncode:
        raise ChildError(done.stderr.strip().splitlines()[-1])
    found: dict[str, Any] = json.loads(done.stdout)
    if found["errors"]:
        raise ChildError(f"{found['errors']} requests failed")
    if not found["latency_ms"]:
        raise ChildError(f"nothing that was asked after the warm-up was answered within {seconds:g} s")
    return found
