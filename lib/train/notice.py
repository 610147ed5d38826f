"""State in time when a node is about to be taken away, such as a spot instance.

    notice = Notice(world, say)
    notice.is_due(since_saved_s=12.0, every_s=300.0)

Workers ask Ray Train whether one of their nodes is being drained; from then on state is written every few
seconds, so that little is done again when the node has gone. Asking is a meeting of all workers, so worker 0
decides by its clock when it is time, as it does for state.
"""

import time
from collections.abc import Callable

from lib.train.world import World

# How often Ray is asked, and how often state is written after a notice.
_ASK_S = 2.0
_HURRY_S = 5.0


class Notice:
    """What is known about the end of a node."""

    def __init__(self, world: World, say: Callable[[str], None]) -> None:
        self._world, self._say = world, say
        self._asked_at = time.monotonic()
        self._is_given = False

    def is_due(self, since_saved_s: float, every_s: float) -> bool:
        """Tell, on all workers alike, whether state is to be written now; all workers must call it.

        `since_saved_s` is the time since the last state, of which that of worker 0 counts; `every_s` is the
        usual interval.
        """
        is_time_to_ask = time.monotonic() - self._asked_at >= _ASK_S
        asks, since_saved_s = self._world.from_first((is_time_to_ask, since_saved_s))
        if asks and not self._is_given:
            self._asked_at = time.monotonic()
            self._is_given = self._world.is_preempted()
            if self._is_given:
                self._say("a node is about to be taken away: writing state every few seconds")
                return True
        return since_saved_s >= (min(_HURRY_S, every_s) if self._is_given else every_s)
