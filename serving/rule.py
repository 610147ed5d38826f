"""When a candidate is taken out: counts of all replicas together, held against the rule of the rollout.

why = verdict(Counts(requests=200, errors=9), Rollback(max_error_fraction=0.02))
# "9 of 200 requests failed; rollback.max_error_fraction=0.02"
"""

from dataclasses import dataclass

from lib.config.rollout import Rollback


@dataclass(frozen=True)
class Counts:
    """What a candidate did since its replicas were given it."""

    requests: int = 0
    errors: int = 0
    compared: int = 0
    """Requests that the stable version answered too."""
    disagreed: int = 0
    """Those of them in which the labels differ."""

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.requests + other.requests,
            self.errors + other.errors,
            self.compared + other.compared,
            self.disagreed + other.disagreed,
        )


# What candidates did by version, and why some were taken out.
Evidence = tuple[dict[str, Counts], dict[str, str]]


def verdict(counts: Counts, rule: Rollback) -> str | None:
    """Return why a candidate has to go, or None while it may stay."""
    most = rule.max_error_fraction
    if most is not None and counts.requests >= rule.min_requests and counts.errors > most * counts.requests:
        return f"{counts.errors} of {counts.requests} requests failed; rollback.max_error_fraction={most:g}"
    most, seen = rule.max_disagreement, counts.compared
    if most is not None and seen >= rule.min_requests and counts.disagreed > most * seen:
        found = f"its label differed from the stable version's in {counts.disagreed} of {seen} comparisons"
        return f"{found}; rollback.max_disagreement={most:g}"
    return None
