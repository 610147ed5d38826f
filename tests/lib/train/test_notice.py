from collections.abc import Callable

import pytest

from lib.train import notice
from lib.train.notice import Notice, Order
from lib.train.world import News, World


def orders(told: Notice, count: int) -> list[Order]:
    return [told.after_step() for _ in range(count)]


def hearing(*news: News) -> Callable[[], News]:
    """Hear one thing after the other, and then the last."""
    return lambda left=list(news): left.pop(0) if len(left) > 1 else left[0]


def test_state_is_due_by_the_clock() -> None:
    told = Notice(World(), print, 300.0)
    assert orders(told, 3) == [Order.GO_ON] * 3
    told._saved_at -= 300
    # What is decided after a step is done after the next.
    assert orders(told, 4) == [Order.GO_ON, Order.SAVE, Order.GO_ON, Order.GO_ON]
    told._saved_at -= 300
    told.saved()
    assert orders(told, 3) == [Order.GO_ON] * 3


@pytest.mark.parametrize("every_s", [0.0, 300.0])
@pytest.mark.parametrize(
    ("news", "line"),
    [
        (News.LEAVING, "a node is about to be taken away: writing state every few seconds"),
        (News.JOINING, "the cluster has grown: writing state, for the workers will be started again"),
    ],
)
def test_after_a_notice_state_is_written_at_once_and_then_often(
    news: News, line: str, every_s: float
) -> None:
    said: list[str] = []
    told = Notice(World(news=hearing(News.NOTHING, news)), said.append, every_s)
    assert orders(told, 4) == [Order.GO_ON, Order.GO_ON, Order.SAVE, Order.GO_ON]
    assert said == [line]
    told._saved_at -= notice._HURRY_S
    assert orders(told, 3) == [Order.GO_ON, Order.SAVE, Order.GO_ON]
    assert said == [line]


def test_without_a_clock_and_without_news_no_state_is_due() -> None:
    told = Notice(World(), print, 0.0)
    told._saved_at -= 1e6
    assert orders(told, 3) == [Order.GO_ON] * 3


def test_a_shorter_interval_than_that_of_a_hurry_stays() -> None:
    told = Notice(World(news=lambda: News.LEAVING), lambda _: None, 2.0)
    assert orders(told, 3) == [Order.GO_ON, Order.SAVE, Order.GO_ON]
    told._saved_at -= 2
    assert orders(told, 2) == [Order.GO_ON, Order.SAVE]


def test_equal_runs_do_not_heed_nodes_but_the_wish_to_stop() -> None:
    told = Notice(World(news=hearing(News.LEAVING, News.LEAVING, News.STOP)), print, 0.0, is_heeded=False)
    assert orders(told, 4) == [Order.GO_ON, Order.GO_ON, Order.GO_ON, Order.STOP]


def test_a_wish_that_came_while_measuring_is_followed_after_the_epoch() -> None:
    told = Notice(World(news=hearing(News.NOTHING, News.STOP)), print, 300.0)
    assert told.after_step() is Order.GO_ON
    assert told.after_epoch() is Order.STOP


def test_after_an_epoch_the_clock_starts_anew() -> None:
    told = Notice(World(), print, 300.0)
    told._saved_at -= 300
    assert told.after_step() is Order.GO_ON
    assert told.after_epoch() is Order.GO_ON
    assert orders(told, 2) == [Order.GO_ON] * 2
