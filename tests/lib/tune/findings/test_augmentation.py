from lib.tune.compare import over_seeds
from lib.tune.findings.augmentation import told_gap


def test_a_gap_has_an_interval_over_seeds_if_there_are_several() -> None:
    assert told_gap(over_seeds([0.1, 0.12, 0.11])) == "+11.0 (+8.5 to +13.5)"
    assert told_gap(over_seeds([-0.034])) == "-3.4"
