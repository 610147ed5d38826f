import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.cluster import cpus_per_worker, ray_map


@pytest.mark.parametrize(
    ("cpus", "workers", "expected"),
    [
        ([2], 1, 2),
        ([2], 2, 1),
        ([2], 3, 0.66),
        ([8], 3, 2),
        ([4, 2], 2, 2),  # three each would not fit the second node, four leaves one without
        ([3, 3], 4, 1),
        ([16, 16, 16, 16], 4, 16),
        ([1], 8, 0.12),
        ([], 1, 0.01),
    ],
)
def test_workers_share_the_cores_of_the_nodes(cpus: list[float], workers: int, expected: float) -> None:
    assert cpus_per_worker(cpus, workers) == pytest.approx(expected)


def _slow_first(number: int) -> int:
    time.sleep(0.2 if number == 0 else 0)
    return number


@pytest.mark.integration
@pytest.mark.usefixtures("ray_session")
def test_ray_map_keeps_the_order_and_takes_items_as_it_goes() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(6):
            taken.append(number)
            yield number

    results = ray_map(_slow_first, items(), at_a_time=2, cpus=0.5)
    assert next(results) == 0
    assert taken == [0, 1, 2]
    assert list(results) == [1, 2, 3, 4, 5]
    assert list(ray_map(_slow_first, [], at_a_time=2)) == []


@pytest.mark.integration
@pytest.mark.usefixtures("ray_session")
def test_ray_map_ends_the_others_when_one_fails(tmp_path: Path) -> None:
    def work(number: int) -> None:
        if number == 0:
            raise ValueError("the first one fails")
        try:
            (tmp_path / "began").touch()
            for _ in range(600):  # what ends it comes between two lines
                time.sleep(0.1)
            (tmp_path / "done").touch()
        finally:
            (tmp_path / "ended").touch()

    with pytest.raises(ValueError, match="the first one fails"):
        list(ray_map(work, range(2), at_a_time=2, cpus=0.5))
    # The second may not have begun yet, and what ends it may come at any line.
    found = {path.name for path in tmp_path.iterdir()}
    assert "done" not in found
    assert not found or "ended" in found
