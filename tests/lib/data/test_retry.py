from collections.abc import Callable

import pytest

from lib.data import retry
from lib.data.retry import Transient, retried
from lib.errors import RunError, UserError


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", seconds.append)
    return seconds


def _fails(times: int, wait_s: float | None = None) -> Callable[[], str]:
    left = [times]

    def action() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise Transient("busy", wait_s)
        return "done"

    return action


def test_what_works_is_not_repeated(waited: list[float]) -> None:
    assert retried(_fails(0), where="x") == "done"
    assert waited == []


def test_waits_double_and_differ(waited: list[float]) -> None:
    assert retried(_fails(retry.ATTEMPTS - 1), where="x") == "done"
    assert len(waited) == retry.ATTEMPTS - 1
    for number, seconds in enumerate(waited):
        most = retry.FIRST_WAIT_S * 2**number
        assert most / 2 <= seconds <= most
    first = list(waited)
    waited.clear()
    retried(_fails(retry.ATTEMPTS - 1), where="x")
    assert waited != first


def test_the_server_may_ask_for_more(waited: list[float]) -> None:
    retried(_fails(1, wait_s=12.0), where="x")
    retried(_fails(1, wait_s=1e6), where="x")
    retried(_fails(1, wait_s=-5.0), where="x")
    assert waited[:2] == [12.0, retry.MOST_WAIT_S]
    assert 0 < waited[2] <= retry.FIRST_WAIT_S


def test_the_last_failure_is_told(waited: list[float]) -> None:
    with pytest.raises(RunError, match=r"cannot read s3://b/x: busy \(tried 6 times\)"):
        retried(_fails(retry.ATTEMPTS), where="s3://b/x")
    assert len(waited) == retry.ATTEMPTS - 1


def test_other_errors_pass_at_once(waited: list[float]) -> None:
    def forbidden() -> None:
        raise UserError("forbidden")

    with pytest.raises(UserError):
        retried(forbidden, where="x")
    assert waited == []
