"""What the workers of a run tell its driver, and it them, through an actor.

messages = ray.remote(num_cpus=0)(Messages).remote()

An actor loads the module of its class: this one needs no torch, which would cost seconds and 700 MB.
"""

from typing import Any


class Messages:
    """Lines from the workers, the result, a failure that a restart would repeat, and the wish to stop."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._failure: tuple[str, str] | None = None
        self._result: dict[str, Any] | None = None
        self._is_stopped = False

    def say(self, line: str) -> None:
        """Keep a line for the driver."""
        self._lines.append(line)

    def take(self) -> list[str]:
        """Return the lines since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def fail(self, problem: str, hint: str) -> None:
        """Keep the first failure."""
        self._failure = self._failure or (problem, hint)

    def failure(self) -> tuple[str, str] | None:
        """Return the failure, if there is one."""
        return self._failure

    def finish(self, result: dict[str, Any]) -> None:
        """Keep the result."""
        self._result = result

    def result(self) -> dict[str, Any] | None:
        """Return the result, if the run has finished."""
        return self._result

    def stop(self) -> None:
        """Ask the workers to write state and end."""
        self._is_stopped = True

    def is_stopped(self) -> bool:
        """Tell whether they are asked to."""
        return self._is_stopped
