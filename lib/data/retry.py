"""One way to try again what may work a moment later: requests to a server that is far away or busy.

data = retried(lambda: request(…), where="s3://bucket/key")     # raises Transient inside: waits and repeats
"""

import time
from collections.abc import Callable
from random import SystemRandom
from typing import TypeVar

from lib.errors import RunError

T = TypeVar("T")

# Six tries within about 15 seconds, unless the server asks for more time.
ATTEMPTS = 6
FIRST_WAIT_S = 0.5
MOST_WAIT_S = 60.0

# Not the generator that a seed of the run controls.
_RANDOM = SystemRandom()


class Transient(Exception):
    """What failed may work when tried again; `wait_s` is how long the server asks to wait, if it does."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def retried(action: Callable[[], T], where: str) -> T:
    """Return what the action returns, repeating it while it raises `Transient`.

    Waits double from try to try, and are shortened at random, so that workers that failed together do not
    come back together. Raises `RunError` that names `where` after the last try.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except Transient as error:
            if attempt == ATTEMPTS:
                problem = f"cannot read {where}: {error} (tried {attempt} times)"
                raise RunError(problem, "check the server and the network, then go on from here") from None
            asked = min(error.wait_s or 0.0, MOST_WAIT_S)
            own = min(FIRST_WAIT_S * 2 ** (attempt - 1), MOST_WAIT_S) * _RANDOM.uniform(0.5, 1.0)
            time.sleep(max(asked, own))
    raise AssertionError("unreachable")
