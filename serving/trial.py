"""What versions do with requests: metrics, counts of candidates, and comparisons that nobody waits for.

trial = Trial(lineup, tally, config.serve)
found = await trial.ask(version, "canary", pictures, How(views="hflip"))
trial.compare("request-42", version, pictures, How(), found)       # returns at once
trial.counts                                                       # by candidate, for the rule

A trial lasts as long as its lineup's rollout: with another one, counting begins anew.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from lib.config.serving import ServeSection
from lib.predict.member import Prepared
from lib.track.tally import Tally
from serving.counting import increments_of_version
from serving.lineup import Candidate, Lineup
from serving.member import Result
from serving.problems import RequestError
from serving.rule import Counts
from serving.version import Row, Version

Role = Literal["stable", "canary", "shadow"]
log = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class How:
    """How the pictures of a request are to be seen."""

    views: str | None = None
    given: bool = False
    """They are pixels that the client has normalised."""


class Trial:
    """Gives requests to the versions of a lineup."""

    def __init__(self, lineup: Lineup, metrics: Tally, serve: ServeSection) -> None:
        self.lineup = lineup
        self.counts = {each.id: Counts() for each in lineup.candidates}
        self._metrics = metrics
        # A comparison may not hold up what it is compared with.
        self._most_compared = serve.max_batch_size
        self._timeout_s = serve.request_timeout_s
        self._comparisons: set[asyncio.Task[None]] = set()
        for _ in lineup.refused:
            metrics.count("version_refusals")

    async def ask(
        self, version: Version, role: Role, pictures: Sequence[Prepared], how: How
    ) -> list[Result[Row]]:
        """Let a version answer, and note how it went; raises what it raises."""
        outcome, start = "error", perf_counter()
        try:
            found = await version.run(pictures, how.views, given=how.given)
            outcome = "ok"
            return found
        except RequestError:
            outcome = "refused"
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._note(version.name.version, role, outcome, perf_counter() - start)

    def _note(self, version: str, role: Role, outcome: str, took_s: float) -> None:
        self._metrics.later(increments_of_version, version, role, outcome, took_s)
        if version in self.counts and outcome in ("ok", "error"):
            self._add(version, Counts(requests=1, errors=int(outcome == "error")))

    def timed_out(self, version: Version) -> None:
        """Note that a version was given up, which is its error."""
        self._add(version.name.version, Counts(requests=1, errors=1))

    def _add(self, version: str, counts: Counts) -> None:
        if version in self.counts:
            self.counts[version] += counts

    def compare(
        self,
        request_id: str,
        answered: Version,
        pictures: Sequence[Prepared],
        how: How,
        found: Sequence[Result[Row]],
    ) -> None:
        """Show a request that was answered to those whose turn it is, without waiting for them."""
        for candidate in self.lineup.compared(request_id):
            pair = (self.lineup.stable, candidate.version)
            if answered not in pair:
                continue
            other = pair[0] if answered is pair[1] else pair[1]
            if not takes(other, answered, how):
                continue
            if len(self._comparisons) >= self._most_compared:
                self._metrics.count("version_comparisons", version=candidate.id, outcome="skipped")
                continue
            held = ExitStack()
            held.enter_context(other.busy())
            labels = [int(result.answer[0].argmax()) for result in found]
            task = asyncio.create_task(self._compare(candidate, other, pictures, how, labels, held))
            self._comparisons.add(task)
            task.add_done_callback(self._comparisons.discard)

    async def _compare(
        self,
        candidate: Candidate,
        other: Version,
        pictures: Sequence[Prepared],
        how: How,
        labels: Sequence[int],
        held: ExitStack,
    ) -> None:
        with held:
            try:
                async with asyncio.timeout(self._timeout_s):
                    found = await self.ask(other, "shadow", pictures, how)
            except TimeoutError:
                self.timed_out(other)
                return
            except Exception as error:  # it is counted, and nobody waits for it
                log.warning("version %s failed on a shadowed request: %s", other.name.version, error)
                return
            same = labels == [int(result.answer[0].argmax()) for result in found]
            outcome = "same" if same else "other"
            self._metrics.count("version_comparisons", version=candidate.id, outcome=outcome)
            self._add(candidate.id, Counts(compared=1, disagreed=int(not same)))

    def take_out(self, reasons: dict[str, str]) -> list[Version]:
        """Give these candidates no more requests; return their versions, which may still be at work."""
        gone = [each for each in self.lineup.candidates if each.id in reasons]
        self.lineup = self.lineup.without(reasons)
        for each in gone:
            log.error("version %s is taken out: %s", each.id, reasons[each.id])
            self._metrics.count("version_rollbacks", version=each.id)
        return [each.version for each in gone]

    def close(self) -> None:
        """Drop the comparisons that are under way."""
        for task in self._comparisons:
            task.cancel()


def takes(version: Version, instead_of: Version, how: How) -> bool:
    """Tell whether a version can answer what was meant for another one."""
    same_pixels = not how.given or version.pixels_spec == instead_of.pixels_spec
    return same_pixels and version.allows(how.views)
