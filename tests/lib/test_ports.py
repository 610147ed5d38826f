from lib.ports import free_ports


def test_free_ports_differ() -> None:
    assert len(set(free_ports(5))) == 5


def test_ports_that_are_given_are_not_found_again() -> None:
    given = free_ports(100)
    found = free_ports(100, besides=given)
    assert len({*found} - {*given}) == 100
