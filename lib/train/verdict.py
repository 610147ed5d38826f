"""The gate of an evaluation: whether the model may be released, and the copy of it that says so.

verdict = reach_verdict(plan, outcomes, reference, latency)
verdict.passed, verdict.lines()
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.bundle import GateFacts
from lib.errors import GateError
from lib.metrics import Outcomes, per_class, summarise
from lib.predict.folder import release
from lib.report.gate import Check, Latency, Measured, gate_section, judge, table
from lib.significance import compare
from lib.train.evaluation_plan import EvaluationPlan


@dataclass(frozen=True)
class Verdict:
    """What was asked of a model, and whether it gave it."""

    checks: list[Check]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(check.passed for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """What `result.json` holds of it."""
        return {"passed": self.passed, "checks": [check.as_dict() for check in self.checks]}


def reach_verdict(
    plan: EvaluationPlan, outcomes: Outcomes, reference: Outcomes | None, latency: Latency | None
) -> Verdict:
    """Hold what was measured against the gate; `reference` are the outcomes of the model to compare with."""
    classes = plan.bundle.classes
    measured = Measured(
        metrics=summarise(outcomes, len(classes)),
        rows=per_class(outcomes, classes),
        size_bytes=sum(p.stat().st_size for p in plan.bundle.path.rglob("*") if p.is_file()),
        latency=latency,
        regression=None if reference is None else compare(outcomes, reference),
    )
    return Verdict(judge(plan.config.gate, measured))


def release_passed(plan: EvaluationPlan, verdict: Verdict, folder: Path) -> None:
    """Copy the model that has passed into the results in `folder`, with the verdict."""
    facts = GateFacts(
        version=plan.bundle.version,
        dataset={"digest": plan.dataset.manifest.digest},
        split=plan.config.split,
        num_samples=plan.num_samples,
        checks=[check.as_dict() for check in verdict.checks],
    )
    path = folder / plan.released.relative_to(plan.folder)
    release(plan.bundle, path, facts, gate_section(facts.model_dump()))


def gate_lines(result: dict[str, Any]) -> list[str]:
    """Return the verdict of a result as a table for a terminal."""
    return table([Check(**check) for check in result["gate"]["checks"]])


def check_passed(result: dict[str, Any]) -> None:
    """Raise `GateError` with what failed, if the gate was not passed."""
    failed = [check for check in result["gate"]["checks"] if not check["passed"]]
    if failed:
        told = "; ".join(f"gate.{each['name']}: {each['asked']}, measured {each['told']}" for each in failed)
        raise GateError(f"the gate is not passed: {told}", "the report says more; nothing was released")
