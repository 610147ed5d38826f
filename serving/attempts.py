"""When a client asks an endpoint again, how long it waits before, and what it raises in the end.

attempts = Attempts(Retries(), "http://127.0.0.1:8000/predict")
wait_s = attempts.after_answer(response)       # None: it is the answer

Asking is idempotent, an image is only looked at, so whatever was lost on the way is asked again.
"""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from pydantic import ValidationError

from lib.errors import MantaError
from serving.schemas import Problem

# A full queue, a replica that starts or ends, a proxy that has lost one.
_AGAIN = (429, 502, 503)
# What a proxy says of its own accord when a replica died, without the endpoint's error and hint.
_AGAIN_BY_A_PROXY = (408, 500, 504)


class EndpointError(MantaError):
    """An answer that is a refusal: its HTTP `status`, with the sentence and the hint of the endpoint."""

    def __init__(self, status: int, error: str, hint: str) -> None:
        super().__init__(error, hint)
        self.status = status
        self.error = error


class Unreachable(MantaError):
    """The endpoint could not be asked: no connection, a connection that was lost, or no answer in time."""


@dataclass(frozen=True)
class Retries:
    """How often to ask, and how long to wait in between.

    Waits double from `first_wait_s`, shortened by up to a half at random, so that many clients do not come
    back at once. A Retry-After is waited for in full; one beyond `max_wait_s` is an error at once.
    """

    attempts: int = 5
    first_wait_s: float = 0.2
    max_wait_s: float = 20.0


class Attempts:
    """The attempts of one request."""

    def __init__(self, retries: Retries, url: str) -> None:
        self._retries = retries
        self._url = url
        self._made = 0

    def after_loss(self, error: httpx.TransportError) -> float:
        """Return the seconds to wait before the next attempt; raises `Unreachable` after the last."""
        if self._last():
            times = f" in {self._made} attempts" if self._made > 1 else ""
            problem = f"no answer from {self._url}{times}: {error or type(error).__name__}"
            raise Unreachable(problem, "check the address, and that the endpoint runs") from error
        return self._wait_s()

    def after_answer(self, response: httpx.Response) -> float | None:
        """Return None for an answer, or the seconds to wait; raises `EndpointError` for a refusal."""
        if response.is_success:
            return None
        problem = _problem(response)
        again = response.status_code in _AGAIN or (
            problem is None and response.status_code in _AGAIN_BY_A_PROXY
        )
        asked_s = _retry_after_s(response)
        if not again or self._last() or asked_s > self._retries.max_wait_s:
            problem = problem or Problem(error=f"{self._url} answered {response.status_code}", hint="")
            raise EndpointError(response.status_code, problem.error, problem.hint)
        return asked_s + self._wait_s()

    def _last(self) -> bool:
        self._made += 1
        return self._made >= self._retries.attempts

    def _wait_s(self) -> float:
        wait_s = self._retries.first_wait_s * 2.0 ** (self._made - 1)
        return min(wait_s, self._retries.max_wait_s) * random.uniform(0.5, 1)


def _problem(response: httpx.Response) -> Problem | None:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        return None


def _retry_after_s(response: httpx.Response) -> float:
    """Read Retry-After, seconds or a date; 0 if there is none."""
    given = response.headers.get("retry-after", "")
    if given.isdigit():
        return float(given)
    try:
        date = parsedate_to_datetime(given)
    except ValueError:
        return 0.0
    return max(0.0, (date.astimezone(UTC) - datetime.now(UTC)).total_seconds())
