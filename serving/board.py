"""What candidates do on all replicas of an endpoint, put together by an actor that only adds up.

gateway = Gateway(config, rollout, share=Board("replica-1").share)

The actor exists while a rollout has a rule. It belongs to the replica that made it; if both die, the next
report of another replica makes a new one, and what it has to know is in the reports.
"""

import hashlib
from typing import Any

import ray
from ray.exceptions import RayError

from lib.config.rollout import Rollout
from serving.rule import Counts, Evidence


class Sum:
    """The actor: the last report of each replica, added up."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, Counts]] = {}
        self._taken_out: dict[str, str] = {}

    def report(self, replica: str, counts: dict[str, Counts], taken_out: dict[str, str]) -> Evidence:
        """Take a replica's counts by version, and why it took some out; return those of all replicas."""
        self._counts[replica] = counts
        self._taken_out |= taken_out
        totals: dict[str, Counts] = {}
        for each in self._counts.values():
            for version, found in each.items():
                totals[version] = totals.get(version, Counts()) + found
        return totals, dict(self._taken_out)


class Board:
    """A replica's way to the others."""

    def __init__(self, replica: str) -> None:
        self._replica = replica
        self._rollout: Rollout | None = None
        self._actor: Any = None

    async def share(self, rollout: Rollout, counts: dict[str, Counts], taken_out: dict[str, str]) -> Evidence:
        """Report on a rollout; returns what all replicas found, or this one alone while they are cut off."""
        try:
            if self._actor is None or rollout != self._rollout:
                self._actor = _actor_of(rollout)
                self._rollout = rollout
            found: Evidence = await self._actor.report.remote(self._replica, counts, taken_out)
            return found
        except RayError:
            self._actor = None
            return dict(counts), dict(taken_out)


def _actor_of(rollout: Rollout) -> Any:
    """Find or start the actor of a rollout; another rollout, even of the same versions, begins anew."""
    digest = hashlib.sha256(rollout.model_dump_json().encode()).hexdigest()[:16]
    name = f"manta-rollout-{digest}"
    remote: Any = ray.remote(num_cpus=0)(Sum)
    return remote.options(name=name, namespace="manta", get_if_exists=True).remote()
