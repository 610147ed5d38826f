"""What a run is told while it trains, and what its workers then do together: go on, write state, or stop.

    notice = Notice(world, say, every_s=300.0)
    notice.after_step()             # Order.GO_ON, Order.SAVE or Order.STOP, the same on all workers

Worker 0 decides, by its clock and by what it hears: that a node is about to be taken away, such as a spot
instance, that a new one will make Ray start the workers again, or that somebody wants the run to stop. Its
word travels beside the next step, so asking after every step costs nothing; it is followed one step later.
"""

import time
from collections.abc import Callable
from enum import IntEnum

from lib.train.world import News, World

# How often state is written while the workers may be lost at any time.
_HURRY_S = 5.0
_TOLD = {
    News.LEAVING: "a node is about to be taken away: writing state every few seconds",
    News.JOINING: "the cluster has grown: writing state, for the workers will be started again",
}


class Order(IntEnum):
    """What all workers do after a step."""

    GO_ON = 0
    SAVE = 1
    STOP = 2
    """Write state, and end."""


class Notice:
    """Decides on worker 0, and carries the decision to all.

    `every_s` is the usual interval between states, 0 for none. Without `is_heeded` nodes may come and go
    unheard, for the sake of equal runs; a wish to stop is always followed.
    """

    def __init__(
        self, world: World, say: Callable[[str], None], every_s: float, *, is_heeded: bool = True
    ) -> None:
        self._world, self._say, self._every_s, self._is_heeded = world, say, every_s, is_heeded
        self._heard = News.NOTHING
        self._arriving: Callable[[], int] = lambda: Order.GO_ON
        self._saved_at = time.monotonic()

    def after_step(self) -> Order:
        """Return what is to be done now; every worker calls it after every step."""
        order = Order(self._arriving())
        if order is Order.SAVE:
            self.saved()
        self._arriving = self._world.send(self._decide())
        return order

    def after_epoch(self) -> Order:
        """Return the same when measuring may have taken long, and state has just been written: no `SAVE`."""
        self._arriving()
        self._arriving = lambda: Order.GO_ON
        self.saved()
        return Order(self._world.send(self._decide())())

    def saved(self) -> None:
        """Note that state is written now."""
        self._saved_at = time.monotonic()

    def _decide(self) -> Order:
        """Return the order of worker 0; what others return is not sent."""
        news = self._world.news()
        if news is News.STOP:
            return Order.STOP
        if not self._is_heeded:
            news = News.NOTHING
        is_new, self._heard = news not in (self._heard, News.NOTHING), news
        if is_new:
            self._say(_TOLD[news])
            return Order.SAVE
        every_s = min(_HURRY_S, self._every_s or _HURRY_S) if news else self._every_s
        return Order.SAVE if every_s and time.monotonic() - self._saved_at >= every_s else Order.GO_ON
