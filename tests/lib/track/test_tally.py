"""What a tally holds between two takes."""

import threading

import pytest

from lib.track.metric import Metric
from lib.track.tally import Counted, Increments, Tally

TABLE = {
    "requests": Metric("counter", "requests", ("route", "code"), "."),
    "seconds": Metric("histogram", "seconds", (), ".", (0.1, 1.0)),
    "ready": Metric("gauge", "bool", ("version",), "."),
}


def test_counts_by_labels_and_begins_anew() -> None:
    tally = Tally(TABLE)
    tally.count("requests", route="/", code="200")
    tally.count("requests", 2, code="200", route="/")
    tally.count("requests", route="/", code="404")
    found = tally.take()
    assert found.counts == {("requests", ("/", "200")): 3, ("requests", ("/", "404")): 1}
    assert tally.take() == Counted()


def test_a_value_falls_into_the_bin_whose_bound_it_reaches() -> None:
    tally = Tally(TABLE)
    for value in (0.05, 0.1, 0.5, 3):
        tally.observe("seconds", value)
    assert tally.take().bins == {("seconds", ()): [2, 1, 1, pytest.approx(3.65)]}


def test_gauges_stay_until_they_are_let_go() -> None:
    tally = Tally(TABLE)
    tally.set("ready", 1, version="a")
    tally.set("ready", 0, version="b")
    both = tally.take().gauges
    assert both == tally.take().gauges == {("ready", ("a",)): 1, ("ready", ("b",)): 0}
    tally.clear("ready")
    assert tally.take().gauges == {}


def test_what_was_not_delivered_is_put_back() -> None:
    tally = Tally(TABLE)
    tally.count("requests", route="/", code="200")
    tally.observe("seconds", 0.5)
    tally.set("ready", 1, version="a")
    taken = tally.take()
    tally.set("ready", 0, version="a")
    tally.count("requests", route="/", code="200")
    tally.observe("seconds", 0.5)
    tally.add(taken)
    found = tally.take()
    assert found.counts == {("requests", ("/", "200")): 2}
    assert found.bins == {("seconds", ()): [0, 2, 0, 1]}
    assert found.gauges == {("ready", ("a",)): 0}


def increments_of(code: str, took_s: float) -> Increments:
    return [(("requests", ("/", code)), 1)], [(("seconds", ()), took_s)]


def test_what_is_counted_later_is_there_when_it_is_taken() -> None:
    tally, worked_out = Tally(TABLE), []

    def noted(code: str, took_s: float) -> Increments:
        worked_out.append(code)
        return increments_of(code, took_s)

    for number in range(520):
        tally.later(noted, str(200 + number % 2), 0.5)
    assert 0 < len(worked_out) < 520  # many at once
    found = tally.take()
    assert len(worked_out) == 520
    assert found.counts == {("requests", ("/", "200")): 260, ("requests", ("/", "201")): 260}
    assert found.bins == {("seconds", ()): [0, 520, 0, 260.0]}
    assert tally.take() == Counted()


def test_what_cannot_be_counted_harms_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Increments:
        raise ValueError("no count")

    tally = Tally(TABLE)
    tally.later(broken)
    tally.later(increments_of, "200", 0.5)
    assert tally.take().counts == {("requests", ("/", "200")): 1}
    assert "a request was not counted" in caplog.text
    assert "no count" in caplog.text


def test_threads_lose_nothing() -> None:
    tally, taken = Tally(TABLE), Counted()

    def work() -> None:
        for number in range(5000):
            if number % 2:
                tally.count("requests", route="/", code="200")
                tally.observe("seconds", 0.5)
            else:
                tally.later(increments_of, "200", 0.5)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken.add(tally.take())
    taken.add(tally.take())
    assert taken.counts == {("requests", ("/", "200")): 20_000}
    assert taken.bins["seconds", ()][1] == 20_000


def test_a_wrong_label_is_a_defect() -> None:
    with pytest.raises(AssertionError):
        Tally(TABLE).count("requests", route="/")
    with pytest.raises(KeyError):
        Tally(TABLE).count("requests", route="/", status="200")


def test_one_that_is_off_holds_nothing() -> None:
    tally = Tally(TABLE, on=False)
    tally.count("requests", route="/", code="200")
    tally.observe("seconds", 1)
    tally.later(increments_of, "200", 0.5)
    tally.set("ready", 1, version="a")
    assert tally.take() == Counted()
