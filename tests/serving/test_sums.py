"""Several replicas as one: nothing is lost, labels are bounded, gauges are of those that are there."""

import pytest

from lib.track.drift import CONFIDENCE, Baseline
from lib.track.serving_metrics import ACROSS, SERVING
from lib.track.tally import Counted, Tally
from serving.sums import GONE_S, OTHER, SHOWN, Facts, Sums


def facts_of(count: int) -> Facts:
    """Facts of a version with many classes, of which the last ones are the most frequent."""
    classes = tuple(f"class {place}" for place in range(count))
    baseline = Baseline(
        split="val",
        num_samples=count * (count + 1) // 2,
        bounds=list(CONFIDENCE),
        confidence=[0] * 10 + [60] * 10,
        classes=list(range(1, count + 1)),
    )
    return Facts(classes, baseline)


def counted(version: str, labels: list[str], confidence: float = 0.96) -> Counted:
    tally = Tally(SERVING)
    for label in labels:
        tally.count("predicted", version=version, label=label)
        tally.observe("confidence", confidence, version=version)
    tally.set("ready", 1)
    tally.set("capacity", 72)
    tally.set("admitted", 3)
    tally.set("golden_check", 1, version=version)
    return tally.take()


def test_a_thousand_classes_have_a_bounded_number_of_series() -> None:
    sums, facts = Sums(), facts_of(1000)
    sums.know({"v1": facts})
    found = sums.take(0, "replica", counted("v1", list(facts.classes)))
    labels = {key[1][1] for key in found.counts if key[0] == "predicted"}
    assert labels == {OTHER, *facts.classes[-SHOWN:]}
    assert sum(found.counts.values()) == 1000
    assert found.counts["predicted", ("v1", OTHER)] == 1000 - SHOWN


def test_few_classes_are_all_shown_also_without_a_baseline() -> None:
    sums = Sums()
    sums.know({"v1": Facts(("cat", "dog"), None)})
    found = sums.take(0, "replica", counted("v1", ["cat", "dog", "dog"]))
    assert found.counts == {("predicted", ("v1", "cat")): 1, ("predicted", ("v1", "dog")): 2}
    assert not any(name == "drift" for name, _ in sums.gauges(0))


def test_counts_of_a_version_that_nobody_knows_any_more_are_kept() -> None:
    found = Sums().take(0, "replica", counted("gone", ["cat"]))
    assert found.counts == {("predicted", ("gone", OTHER)): 1}


def test_gauges_are_of_the_replicas_that_report() -> None:
    sums = Sums()
    sums.take(0, "one", counted("v1", []))
    sums.take(3, "two", counted("v1", []))
    both = sums.gauges(3)
    assert (both["replicas", ()], both["ready", ()]) == (2, 2)
    assert (both["capacity", ()], both["admitted", ()]) == (144, 6)
    assert both["golden_check", ("v1",)] == 1
    assert sums.gauges(GONE_S + 1)["capacity", ()] == 72
    sums.leave("two")
    assert sums.gauges(GONE_S + 1) == {("replicas", ()): 0}


def test_one_replica_that_is_not_ready_is_counted_out() -> None:
    sums = Sums()
    stuck = counted("v1", [])
    stuck.gauges["ready", ()] = 0
    stuck.gauges["golden_check", ("v2",)] = 0
    sums.take(0, "one", stuck)
    other = counted("v1", [])
    other.gauges["golden_check", ("v2",)] = 1
    sums.take(0, "two", other)
    found = sums.gauges(0)
    assert found["ready", ()] == 1
    assert found["golden_check", ("v2",)] == 0


def test_drift_is_that_of_all_replicas_together_and_of_versions_that_are_served() -> None:
    sums, facts = Sums(), facts_of(3)
    enough = facts.baseline.model_copy(update={"num_samples": 600}) if facts.baseline else None
    sums.know({"v1": Facts(facts.classes, enough)})
    for replica in ("one", "two"):
        sums.take(0, replica, counted("v1", ["class 0"] * 150, confidence=0.3))
    found = sums.gauges(0)
    assert found["drift", ("v1", "classes")] > 0.25
    assert found["drift", ("v1", "confidence")] > 0.25
    sums.leave("one")
    sums.leave("two")
    assert not any(name == "drift" for name, _ in sums.gauges(0))


def test_every_gauge_of_a_replica_is_put_together_somehow() -> None:
    made_here = {"replicas", "drift"}
    gauges = {name for name, metric in SERVING.items() if metric.kind == "gauge"}
    assert set(ACROSS) == gauges - made_here


@pytest.mark.parametrize("name", SERVING)
def test_names_and_labels_are_those_that_prometheus_takes(name: str) -> None:
    metric = SERVING[name]
    assert name == name.lower()
    assert metric.help.endswith(".")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
