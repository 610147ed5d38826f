"""Whether a model may be released: what was asked of it, and what was measured.

checks = judge(config.gate, Measured(metrics, rows, latency, size_bytes, regression))
all(check.passed for check in checks)
table(checks)            # lines for a terminal
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lib.config.judging import GateSection
from lib.metrics import ClassRow, wilson_interval
from lib.report.card import plain
from lib.report.svg import points, points_range
from lib.significance import Difference


@dataclass(frozen=True)
class Latency:
    """Milliseconds per image that comes alone: the middle, and what 95 of 100 stay within."""

    num_images: int
    median_ms: float
    p95_ms: float
    where: str
    """What measured it: engine, device, threads."""


@dataclass(frozen=True)
class Measured:
    """What a gate may ask about; what it does not ask about may be missing."""

    metrics: Mapping[str, float]
    rows: Sequence[ClassRow]
    size_bytes: int
    latency: Latency | None = None
    regression: Difference | None = None


@dataclass(frozen=True)
class Check:
    """One requirement: the key that sets it, its limit, what was found, and how that is put in words."""

    name: str
    limit: float | str
    found: float
    passed: bool
    asked: str
    told: str

    def as_dict(self) -> dict[str, Any]:
        """What `result.json` and the bundle hold of it."""
        return asdict(self)


def judge(gate: GateSection, measured: Measured) -> list[Check]:
    """Return a check for everything that the gate asks, in the order of its keys."""
    asked = {name: value for name, value in gate if value is not None}
    return [_CHECKS[name](value, measured) for name, value in asked.items()]


def table(checks: Sequence[Check]) -> list[str]:
    """The checks as aligned lines, for a terminal."""
    rows = [("gate", "asked", "measured", "")] + [
        (check.name, check.asked, check.told, "passed" if check.passed else "FAILED") for check in checks
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join(f"{word:<{width}}" for word, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _accuracy(limit: float, measured: Measured) -> Check:
    accuracy, count = measured.metrics["accuracy"], int(measured.metrics["num_samples"])
    low, high = wilson_interval(accuracy, count)
    told = f"{accuracy:.4f} ({low:.4f} to {high:.4f}) on {count:,} images"
    return Check("min_accuracy", limit, accuracy, accuracy >= limit, f"at least {limit:g}", told)


def _latency(limit: float, measured: Measured) -> Check:
    latency = measured.latency
    assert latency is not None, "a gate on latency needs a measurement"
    told = (
        f"{latency.p95_ms:.1f} ms for 95 of 100 images, {latency.median_ms:.1f} ms for half; {latency.where}"
    )
    found = latency.p95_ms
    return Check("max_latency_ms", limit, found, found <= limit, f"at most {limit:g} ms an image", told)


def _size(limit: float, measured: Measured) -> Check:
    size = measured.size_bytes / 1e6
    return Check("max_size_mb", limit, size, size <= limit, f"at most {limit:g} MB", f"{size:.2f} MB")


def _ece(limit: float, measured: Measured) -> Check:
    ece = measured.metrics["ece"]
    return Check("max_ece", limit, ece, ece <= limit, f"at most {limit:g}", f"{ece:.4f}")


def _class_recall(limit: float, measured: Measured) -> Check:
    weakest = min((row for row in measured.rows if row["support"]), key=lambda row: row["recall"])
    recall = weakest["recall"]
    told = f"{recall:.4f} of {weakest['support']:,} images of {weakest['label']}, the weakest class"
    return Check(
        "min_class_recall", limit, recall, recall >= limit, f"at least {limit:g} of each class", told
    )


def _regression(reference: str, measured: Measured) -> Check:
    found = measured.regression
    assert found is not None, "a gate on regression needs a comparison"
    gap = f"{points(found.difference)} points ({points_range((found.low, found.high))})"
    told = f"{gap}, p {found.p_value:.2g}; {found.better:,} images better, {found.worse:,} worse"
    passed = found.difference >= 0 or not found.is_certain
    return Check("max_regression_vs", reference, found.difference, passed, f"no worse than {reference}", told)


_CHECKS: dict[str, Callable[[Any, Measured], Check]] = {
    "min_accuracy": _accuracy,
    "max_latency_ms": _latency,
    "max_size_mb": _size,
    "max_ece": _ece,
    "min_class_recall": _class_recall,
    "max_regression_vs": _regression,
}


def gate_section(verdict: Mapping[str, Any]) -> str:
    """The verdict of a gate that was passed, as a section of a model card."""
    rows = ["| | asked | measured |", "|---|---|---|"]
    rows += [
        f"| {plain(check['name'])} | {plain(check['asked'])} | {plain(check['told'])} |"
        for check in verdict["checks"]
    ]
    split, digest = plain(verdict["split"]), plain(verdict["dataset"]["digest"])
    where = f"{verdict['num_samples']:,} images of {split} (dataset digest {digest})"
    return f"""
## Release gate

Passed on {where}, as version {verdict["version"]}.

{chr(10).join(rows)}
"""
