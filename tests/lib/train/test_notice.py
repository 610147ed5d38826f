from lib.train import notice
from lib.train.notice import Notice
from lib.train.world import World


def test_state_is_due_by_the_clock() -> None:
    usual = Notice(World(), print)
    assert not usual.is_due(299.0, 300.0)
    assert usual.is_due(300.0, 300.0)


def test_after_a_notice_state_is_written_at_once_and_then_often() -> None:
    said: list[str] = []
    asked: list[bool] = []
    answers = iter([False, True])
    given = Notice(World(is_preempted=lambda: asked.append(True) or next(answers)), said.append)
    assert not given.is_due(1.0, 300.0)  # asked a moment ago
    assert asked == []
    given._asked_at -= notice._ASK_S
    assert not given.is_due(1.0, 300.0)
    given._asked_at -= notice._ASK_S
    assert given.is_due(1.0, 300.0)
    assert said == ["a node is about to be taken away: writing state every few seconds"]
    assert not given.is_due(1.0, 300.0)
    assert given.is_due(notice._HURRY_S, 300.0)
    assert given.is_due(2.0, 2.0)
    assert len(asked) == 2
