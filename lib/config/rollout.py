"""Which versions of a model an endpoint serves: a file for `python -m serving`, or Serve's `user_config`.

bundle: runs/photos-2/bundle              # answers; by default the bundle that the endpoint was started with
candidates:
- {bundle: runs/photos-3/bundle, weight: 0.05, shadow: 0.2}
rollback: {max_error_fraction: 0.02, max_disagreement: 0.1}
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from lib.config.section import Count, Section

Share = Annotated[float, Field(ge=0, le=1)]


class Candidate(Section):
    """A version beside the stable one."""

    bundle: str
    """Its bundle or ensemble folder; with the same classes as the stable version."""
    weight: Share = 0.0
    """Share of the requests that it answers (a canary)."""
    shadow: Share = 0.0
    """Share of the requests that it is shown together with the stable version, to compare their labels."""

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.weight == self.shadow == 0:
            raise ValueError(f"{self.bundle} would see no request; give it a weight or a shadow")
        return self


class Rollback(Section):
    """When a candidate is taken out without being asked, by what it did on all replicas together."""

    min_requests: Count = 100
    """Requests, and for disagreement comparisons, before anything is decided."""
    max_error_fraction: Share | None = 0.05
    """Share of its requests that may fail; null for any."""
    max_disagreement: Share | None = None
    """Share of the comparisons in which its label may differ from the stable version's; null for any."""


class Rollout(Section):
    """Which versions are served."""

    bundle: str | None = None
    """The stable version, which answers what no candidate does; null: what the endpoint was started with."""
    candidates: tuple[Candidate, ...] = ()
    """Versions that are tried."""
    rollback: Rollback | None = None
    """Take out a candidate that fails or disagrees too often; null leaves that to you."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        total = sum(candidate.weight for candidate in self.candidates)
        if total > 1:
            raise ValueError(f"the weights of the candidates sum to {total:g}; at most 1 can be given away")
        paths = [candidate.bundle for candidate in self.candidates]
        if len(set(paths)) < len(paths):
            raise ValueError("a candidate is listed twice")
        if self.rollback is not None and not self.candidates:
            raise ValueError("rollback has no effect without candidates")
        if self.rollback is not None and self.rollback.max_disagreement is not None:
            unseen = [candidate.bundle for candidate in self.candidates if not candidate.shadow]
            if unseen:
                raise ValueError(f"rollback.max_disagreement compares nothing: give {unseen[0]} a shadow")
        return self
