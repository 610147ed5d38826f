"""What a job leaves for Prometheus when it ends, however it ends: the metrics of lib/track/job_metrics.py.

with reported("evaluate", "photos", config.track.prometheus) as report:
    report.take(evaluate_bundle(plan))
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lib.console import say
from lib.track.job_metrics import JOBS
from lib.track.publish import Publisher
from lib.track.registry import Registry


@dataclass
class Report:
    """What is known of a job so far."""

    images: int = 0
    bad_samples: int = 0
    accuracy: dict[str, float] = field(default_factory=dict)
    """By split."""
    has_passed: bool = True
    """False if a gate was not passed."""

    def take(self, result: Mapping[str, Any]) -> None:
        """Take what is in a `result.json`."""
        metrics = result.get("metrics", {})
        self.images = int(result.get("answered", sum(split["num_samples"] for split in metrics.values())))
        self.bad_samples = result.get("bad_samples", 0)
        self.accuracy = {split: found["accuracy"] for split, found in metrics.items()}
        self.has_passed = result.get("gate", {}).get("passed", True)


@contextmanager
def reported(task: str, subject: str, target: str | None) -> Iterator[Report]:
    """Follow a job to its end, and leave its figures at `track.prometheus`, if that is given."""
    report, started, has_ended = Report(), time.monotonic(), False
    try:
        yield report
        has_ended = True
    finally:
        if target is not None:
            registry = _registry(report, task, subject)
            registry.set("job_success", has_ended and report.has_passed, task=task, subject=subject)
            registry.set("job_seconds", time.monotonic() - started, task=task, subject=subject)
            Publisher(registry, target, task, say)()


def _registry(report: Report, task: str, subject: str) -> Registry:
    registry = Registry(JOBS)
    registry.set("job_images", report.images, task=task, subject=subject)
    registry.set("job_bad_samples", report.bad_samples, task=task, subject=subject)
    registry.set("job_ended_timestamp_seconds", time.time(), task=task, subject=subject)
    for split, accuracy in report.accuracy.items():
        registry.set("job_accuracy", accuracy, task=task, subject=subject, split=split)
    return registry
