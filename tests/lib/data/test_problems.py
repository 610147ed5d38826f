from lib.data.problems import Problems


def _problems(kinds: dict[str, int]) -> Problems:
    problems = Problems()
    for kind, count in kinds.items():
        for number in range(count):
            problems.add(kind, f"{kind}{number}")
    return problems


def test_kinds_are_listed_in_the_order_in_which_they_were_found() -> None:
    problems = _problems({"b": 1, "a": 2})
    assert problems.lines() == ["b: 1", "  b0", "a: 2", "  a0", "  a1"]
    assert len(problems) == 3


def test_no_problems() -> None:
    assert not Problems()
    assert Problems().lines() == []


def test_ten_of_a_kind_are_listed_and_all_are_counted() -> None:
    problems = _problems({"a": 1234})
    assert problems.counts() == {"a": 1234}
    assert problems.lines()[:2] == ["a: 1,234", "  a0"]
    assert problems.lines()[10:] == ["  a9", "  … and 1,224 more"]


def test_what_others_found_is_added() -> None:
    problems = _problems({"a": 7})
    problems.merge(_problems({"a": 7, "b": 1}))
    problems.merge(_problems({"a": 20}))
    assert problems.counts() == {"a": 34, "b": 1}
    assert len(problems) == 35
    assert problems.lines()[7:12] == ["  a6", "  a0", "  a1", "  a2", "  … and 24 more"]
