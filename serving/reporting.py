"""A replica's reports to the ledger of its endpoint.

reporter = Reporter("manta", "replica-1", gateway)
task = asyncio.create_task(reporter.run())     # once a second
reporter.close()                               # the last one; returns when it has arrived
"""

import asyncio
import logging
import threading
from typing import Any

import ray
from ray.exceptions import RayError

from lib.recorder import EVERY_S
from lib.track.tally import Counted
from serving.counting import facts_of, set_gauges
from serving.gateway import Gateway
from serving.ledger import ledger_of

# How long the end of a replica waits for its last report.
_LAST_S = 5.0
log = logging.getLogger("ray.serve")


class Reporter:
    """Tells the ledger what the gateway of this replica has counted."""

    def __init__(self, app: str, replica: str, gateway: Gateway) -> None:
        self._app = app
        self._replica = replica
        self._gateway = gateway
        self._ledger: Any = None
        self._told: set[str] = set()
        """Versions that this ledger knows about."""
        self._closed = False

    async def run(self) -> None:
        """Report once a second; what does not arrive is in the next report."""
        while True:
            counted = self._take()
            try:
                await self._send(counted)
            except RayError as error:  # the ledger is gone, and the next report starts another
                log.warning("a report of metrics was lost and will be sent again: %s", error)
                self._gateway.tally.add(counted)
                self._ledger = None
            await asyncio.sleep(EVERY_S)

    def close(self) -> None:
        """Send what is left, and leave."""
        if self._closed:
            return
        self._closed = True
        # Not in this thread: it may be the one of the event loop, where Ray does not want to be waited for.
        thread = threading.Thread(target=self._last, name="last-report")
        thread.start()
        thread.join()

    def _last(self) -> None:
        try:
            ray.get(self._send(self._take()), timeout=_LAST_S)
            ray.get(self._ledger.leave.remote(self._replica), timeout=_LAST_S)
        except RayError as error:
            log.warning("the last report of metrics was lost: %s", error)

    def _take(self) -> Counted:
        set_gauges(self._gateway.tally, self._gateway)
        return self._gateway.tally.take()

    def _send(self, counted: Counted) -> Any:
        if self._ledger is None:
            self._ledger, self._told = ledger_of(self._app), set()
        facts = {name: each for name, each in facts_of(self._gateway).items() if name not in self._told}
        sent = self._ledger.report.remote(self._replica, counted, facts)
        self._told |= facts.keys()
        return sent
