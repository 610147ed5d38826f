"""When a candidate has to go."""

import pytest

from lib.config.rollout import Rollback
from serving.board import Sum
from serving.rule import Counts, verdict

RULE = Rollback(min_requests=10, max_error_fraction=0.2, max_disagreement=0.5)


@pytest.mark.parametrize(
    "counts",
    [
        Counts(),
        Counts(requests=9, errors=9, compared=9, disagreed=9),
        Counts(requests=10, errors=2),
        Counts(compared=10, disagreed=5),
        Counts(requests=1000, errors=200, compared=1000, disagreed=500),
    ],
)
def test_it_may_stay(counts: Counts) -> None:
    assert verdict(counts, RULE) is None


def test_it_fails_too_often() -> None:
    assert verdict(Counts(requests=10, errors=3), RULE) == (
        "3 of 10 requests failed; rollback.max_error_fraction=0.2"
    )


def test_it_disagrees_too_often() -> None:
    why = verdict(Counts(requests=10, compared=10, disagreed=6), RULE)
    assert why is not None
    assert "6 of 10 comparisons; rollback.max_disagreement=0.5" in why


def test_a_limit_that_is_null_is_none() -> None:
    bad = Counts(requests=100, errors=100, compared=100, disagreed=100)
    assert verdict(bad, Rollback(max_error_fraction=None)) is None


def test_counts_of_replicas_add_up_once_each() -> None:
    board = Sum()
    board.report("a", {"v": Counts(requests=1)}, {})
    board.report("b", {"v": Counts(requests=2, errors=1), "w": Counts(compared=3)}, {"w": "bad"})
    totals, taken_out = board.report("a", {"v": Counts(requests=5)}, {})
    assert totals == {"v": Counts(requests=7, errors=1), "w": Counts(compared=3)}
    assert taken_out == {"w": "bad"}
