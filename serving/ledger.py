"""The ledger of an endpoint: an actor that puts together what all replicas count, and hands it to Ray.

ledger = ledger_of("manta")                            # finds or starts it
ledger.report.remote("replica-1", counted, facts)
end_ledger("manta")

One process writes for all replicas. Ray tells series apart by the process that writes them, keeps each for as
long as the node lives, and has room for 2,000 of a metric: replicas that come and go would fill it up. What
has been reported is safe when a replica ends, and drift is seen in the images of all together.
"""

import threading
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayError

from lib.recorder import Recorder
from lib.track.serving_metrics import SERVING
from lib.track.tally import Counted
from serving.sums import Facts, Sums

_NAMESPACE = "manta"
# After so long without a report it asks whether its endpoint is still there: it may have no replica at rest.
_QUIET_S = 60.0
_END_S = 10.0


class Ledger:
    """The actor. It ends by itself when its endpoint is gone."""

    def __init__(self, app: str) -> None:
        self._app = app
        self._me: Any = ray.get_runtime_context().current_actor
        self._sums = Sums()
        self._lock = threading.Lock()
        self._heard_s = time.monotonic()
        self._recorder = Recorder(SERVING, self._refresh)

    def report(self, replica: str, counted: Counted, facts: Mapping[str, Facts]) -> None:
        """Take what a replica counted since its last report, and what has to be known for that."""
        now_s = time.monotonic()
        with self._lock:
            self._sums.know(facts)
            self._recorder.add(self._sums.take(now_s, replica, counted))
            self._heard_s = now_s

    def leave(self, replica: str) -> None:
        """Forget a replica that has ended, not what it counted."""
        with self._lock:
            self._sums.leave(replica)

    def end(self) -> None:
        """End; Ray sends what it was handed before the process is gone."""
        self._recorder.close()
        ray.actor.exit_actor()  # type: ignore[no-untyped-call]  # Ray has no types here

    def _refresh(self) -> None:
        """Called by the thread of the recorder."""
        now_s = time.monotonic()
        with self._lock:
            self._recorder.set_all(self._sums.gauges(now_s))
            quiet = now_s - self._heard_s > _QUIET_S
        if quiet:
            self._heard_s = now_s
            from ray import serve  # takes a second, which few ledgers ever need

            if self._app not in serve.status().applications:
                self._me.end.remote()


def ledger_of(app: str) -> Any:
    """Return a handle of the ledger of an application of Serve; it is started if there is none."""
    # It belongs to nobody, for it outlives any replica.
    remote: Any = ray.remote(num_cpus=0)(Ledger)
    options = {"name": _name(app), "namespace": _NAMESPACE, "get_if_exists": True, "lifetime": "detached"}
    return remote.options(**options).remote(app)


def end_ledger(app: str) -> None:
    """End the ledger of an application of Serve, if there is one."""
    try:
        ledger: Any = ray.get_actor(_name(app), _NAMESPACE)
        ray.get(ledger.end.remote(), timeout=_END_S)
    except (ValueError, RayError):  # there is none, or it has just ended
        return


def _name(app: str) -> str:
    return f"manta-ledger-{app}"
