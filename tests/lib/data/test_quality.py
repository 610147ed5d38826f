import numpy as np
import pytest

from lib.data.quality import Quality, class_deviation, rank_correlation, shuffle_quality

CLASSES = 100
COUNTS = [1000] * CLASSES


@pytest.fixture(scope="module")
def by_window() -> dict[int, Quality]:
    """The worst case: a shard per class."""
    labels = np.repeat(np.arange(CLASSES, dtype=np.int32), 1000)
    return {
        window: shuffle_quality(COUNTS, labels, seed=0, window_shards=window, batch_size=64)
        for window in (1, 4, 16, 64, CLASSES)
    }


def test_a_larger_window_mixes_better(by_window: dict[int, Quality]) -> None:
    deviations = [quality.class_deviation for quality in by_window.values()]
    assert deviations == sorted(deviations, reverse=True)
    assert deviations[0] > 1.8
    assert 1.5 < by_window[16].class_deviation < 1.7
    assert by_window[64].class_deviation < 1.25
    assert by_window[CLASSES].class_deviation == pytest.approx(1, abs=0.02)


def test_where_a_sample_lies_says_little_about_when_it_comes(by_window: dict[int, Quality]) -> None:
    # A hundred shards in random order correlate by chance with a standard deviation of 0.1.
    assert all(abs(quality.rank_correlation) < 0.25 for quality in by_window.values())
    assert abs(by_window[CLASSES].rank_correlation) < 0.01


def test_shards_that_are_mixed_already_need_no_large_window() -> None:
    labels = np.random.default_rng(0).integers(0, CLASSES, 100_000).astype(np.int32)
    quality = shuffle_quality(COUNTS, labels, seed=0, window_shards=1, batch_size=64)
    assert quality.class_deviation == pytest.approx(1, abs=0.02)


def test_deviation_of_batches_by_hand() -> None:
    # Batches of two: (0, 0) and (1, 1) are one off in both classes, (0, 1) is exact.
    assert class_deviation(np.array([0, 0, 1, 1], np.int32), 2) == 1
    assert class_deviation(np.array([0, 1, 1, 0], np.int32), 2) == 0
    # The batches of 10 samples are 3, 3 and 4 long, as in training.
    assert class_deviation(np.array([0] * 3 + [1] * 3 + [2] * 4, np.int32), 4) == pytest.approx(
        np.mean([2.1, 0.9, 1.2, 0.9, 2.1, 1.2, 1.2, 1.2, 2.4])
    )


def test_correlation_of_ranks_by_hand() -> None:
    assert rank_correlation(np.arange(9)) == pytest.approx(1)
    assert rank_correlation(np.arange(9)[::-1]) == pytest.approx(-1)
    assert rank_correlation(np.array([1, 0, 3, 2])) == pytest.approx(0.6)
