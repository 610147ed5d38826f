"""Hold candidates against the rule of their rollout, with what they did on all replicas.

task = asyncio.create_task(watch(trial, board.share, is_current, retire))

Each replica decides, and all decide alike: the rule is a function of the counts of all together. A replica
that has taken a candidate out tells the others, so one that starts later does not try it again.
"""

import asyncio
from collections.abc import Awaitable, Callable

from lib.config.rollout import Rollout
from serving.rule import Counts, Evidence, verdict
from serving.trial import Trial
from serving.version import Version

# How often the counts of the replicas are put together.
WATCH_S = 1.0
# Takes a rollout and this replica's evidence on it; returns that of all replicas.
Share = Callable[[Rollout, dict[str, Counts], dict[str, str]], Awaitable[Evidence]]


async def alone(_: Rollout, counts: dict[str, Counts], taken_out: dict[str, str]) -> Evidence:
    """Share with nobody."""
    return counts, dict(taken_out)


async def watch(
    trial: Trial, share: Share, is_current: Callable[[Trial], bool], retire: Callable[[Version], None]
) -> None:
    """Take candidates out of a trial while it is the current one; `retire` is given their versions."""
    rollout = trial.lineup.rollout
    taken_out: dict[str, str] = {}
    assert rollout.rollback is not None
    while is_current(trial):
        # It goes on when all are out: replicas that start later ask the others.
        totals, reasons = await share(rollout, trial.counts, taken_out)
        for candidate in trial.lineup.candidates:
            why = verdict(totals.get(candidate.id, Counts()), rollout.rollback)
            reasons |= {candidate.id: why} if why else {}
        fresh = {version: why for version, why in reasons.items() if version not in taken_out}
        if fresh and is_current(trial):
            taken_out |= fresh
            for version in trial.take_out(fresh):
                retire(version)
            continue  # tell the others at once
        await asyncio.sleep(WATCH_S)
