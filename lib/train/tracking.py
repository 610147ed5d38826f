"""The trackers of a run: worker 0 has those that are asked for, the others none.

tracker = open_tracker(plan, world, say)
"""

from collections.abc import Callable

from lib.config.fields import flat
from lib.track.sinks import open_sinks
from lib.track.tracker import Tracker
from lib.train.plan import RunPlan
from lib.train.world import World

# What has arrived where, in the folder of the run.
MEMORY = "track.json"


def open_tracker(plan: RunPlan, world: World, say: Callable[[str], None]) -> Tracker:
    """Make the tracker of this worker."""
    asked = plan.config.track.model_dump()
    sinks = open_sinks(asked, folder=plan.folder, settings=flat(plan.config)) if world.rank == 0 else []
    return Tracker(sinks, plan.folder / MEMORY, say)
