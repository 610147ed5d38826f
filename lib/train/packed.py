"""A function that is unpickled where it is called, with what it imports, rather than where it arrives.

    send(Packed.of(partial(work, plan)))

Ray unpickles what it is given under Python's search for cycles, a fifth of the time that imports take.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray import cloudpickle

from lib.runtime import uncollected


@dataclass(frozen=True)
class Packed:
    """A function for another process of the same run."""

    pickled: bytes

    @staticmethod
    def of(function: Callable[[], Any]) -> "Packed":
        """Pack a function, with what it holds."""
        return Packed(cloudpickle.dumps(function))  # type: ignore[no-untyped-call]  # Ray has no types here

    def __call__(self) -> Any:
        """Unpack and call it."""
        with uncollected():
            function = cloudpickle.loads(self.pickled)
        return function()
