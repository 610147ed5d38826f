"""What worker 0 of a Ray group hears from outside while it trains, asked by a thread.

with watched(is_stopped, wants_more) as news:
    news()                          # News.NOTHING, at once
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lib.train.elastic import alive_nodes
from lib.train.world import News

_LOOK_S = 1.0
# How long after a new node Ray Train may take to start the workers again; then it has no use for the node.
_JOINING_S = 30.0


class Watch:
    """Looks around every second; every worker has one, and that of worker 0 counts."""

    def __init__(self, is_stopped: Callable[[], bool], wants_more: bool) -> None:
        self._is_stopped, self._wants_more = is_stopped, wants_more
        self._nodes = alive_nodes() if wants_more else set()
        self._joining_until = 0.0
        self._news = News.NOTHING

    def news(self) -> News:
        """Return what was found last."""
        return self._news

    def look(self) -> None:
        """Ask the driver, Ray Train and the cluster, and keep what matters most."""
        news = News.NOTHING
        if self._wants_more:
            nodes = alive_nodes()
            if nodes - self._nodes:
                self._joining_until = time.monotonic() + _JOINING_S
            self._nodes = nodes
            news = News.JOINING if time.monotonic() < self._joining_until else News.NOTHING
        if is_preempted():
            news = News.LEAVING
        self._news = News.STOP if self._is_stopped() else news


@contextmanager
def watched(is_stopped: Callable[[], bool], *, wants_more: bool) -> Iterator[Callable[[], News]]:
    """Look around in a thread while the block trains; `wants_more` if new nodes would change the group."""
    watch, ended = Watch(is_stopped, wants_more), threading.Event()

    def run() -> None:
        while not ended.wait(_LOOK_S):
            watch.look()

    # A daemon: it may be waiting for a worker that has gone.
    threading.Thread(target=run, name="watch", daemon=True).start()
    try:
        yield watch.news
    finally:
        ended.set()


def is_preempted() -> bool:
    """Ask Ray Train, together with the other workers, whether one of their nodes is being drained."""
    import ray.train

    ask = getattr(ray.train, "get_preemption_info", None)  # older Rays do not tell
    if ask is None or os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER") == "0":
        return False
    return ask() is not None
