"""Leave the metrics of a job for Prometheus: in a file for node-exporter, or at a push gateway.

    publish = Publisher(registry, "/var/lib/node_exporter", "pack", say)     # manta-pack.prom in this folder
    publish = Publisher(registry, "http://127.0.0.1:9091", "pack", say)      # as the job manta-pack
    publish()

What the last job of the same task has left is replaced. What fails is a warning, no more.
"""

from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import prometheus_client as prometheus

from lib.track.registry import Registry

# A gateway that does not answer holds up the end of a job for so long.
_TIMEOUT_S = 5


class Publisher:
    """Where the metrics of a process go, and whether it has been said that they do not."""

    def __init__(self, registry: Registry, target: str, task: str, say: Callable[[str], None]) -> None:
        self._metrics, self._target, self._name, self._say = registry.metrics, target, f"manta-{task}", say
        self._has_warned = False

    def __call__(self) -> None:
        """Write or push all metrics as they are now."""
        try:
            if "://" in self._target:
                prometheus.push_to_gateway(self._target, self._name, self._metrics, timeout=_TIMEOUT_S)
            else:
                folder = Path(self._target)
                folder.mkdir(parents=True, exist_ok=True)
                prometheus.write_to_textfile(str(folder / f"{self._name}.prom"), self._metrics)
        except (OSError, HTTPException) as error:
            if not self._has_warned:
                told = str(error).splitlines()[0] if str(error) else type(error).__name__
                self._say(f"warning: track.prometheus={self._target}: {told}")
                self._has_warned = True
