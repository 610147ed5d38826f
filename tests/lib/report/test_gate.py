from lib.config.judging import GateSection
from lib.metrics import ClassRow
from lib.report.gate import Latency, Measured, gate_section, judge, table
from lib.significance import Difference

ROWS = [
    ClassRow(label="a", support=90, precision=1.0, recall=0.9, f1=0.9),
    ClassRow(label="b", support=10, precision=1.0, recall=0.5, f1=0.6),
    ClassRow(label="never seen", support=0, precision=0.0, recall=0.0, f1=0.0),
]


def measured(difference: float = 0.0, p_value: float = 1.0) -> Measured:
    return Measured(
        metrics={"accuracy": 0.9, "num_samples": 100, "ece": 0.04},
        rows=ROWS,
        size_bytes=100_000_000,
        latency=Latency(100, 20.0, 100.0, "torch on cpu, 2 threads"),
        regression=Difference(100, difference, difference - 0.1, difference + 0.1, 1, 2, p_value),
    )


def passed(gate: GateSection, found: Measured | None = None) -> list[bool]:
    return [check.passed for check in judge(gate, found or measured())]


def test_what_is_not_asked_is_not_judged() -> None:
    assert judge(GateSection(), measured()) == []
    assert not GateSection().is_set


def test_what_lies_on_the_limit_passes() -> None:
    limits = {"min_accuracy": 0.9, "max_latency_ms": 100, "max_size_mb": 100, "max_ece": 0.04}
    assert passed(GateSection(**limits, min_class_recall=0.5)) == [True] * 5


def test_what_lies_beyond_it_fails() -> None:
    limits = {"min_accuracy": 0.91, "max_latency_ms": 99, "max_size_mb": 99, "max_ece": 0.03}
    assert passed(GateSection(**limits, min_class_recall=0.51)) == [False] * 5


def test_only_what_is_worse_beyond_chance_has_regressed() -> None:
    gate = GateSection(max_regression_vs="old")
    assert passed(gate, measured(-0.05, 0.06)) == [True]
    assert passed(gate, measured(-0.05, 0.04)) == [False]
    assert passed(gate, measured(0.05, 0.001)) == [True]


def test_the_weakest_class_is_named_in_table_and_card() -> None:
    checks = judge(GateSection(min_class_recall=0.6, max_regression_vs="a|b"), measured())
    head, recall, _ = table(checks)
    assert head.split() == ["gate", "asked", "measured"]
    assert "0.5000 of 10 images of b, the weakest class" in recall
    assert recall.endswith("FAILED")
    verdict = {
        "version": "0123", "dataset": {"digest": "d"}, "split": "test", "num_samples": 100,
        "checks": [check.as_dict() for check in checks],
    }  # fmt: skip
    card = gate_section(verdict)
    assert "Passed on 100 images of test (dataset digest d), as version 0123." in card
    assert r"no worse than a\|b" in card
