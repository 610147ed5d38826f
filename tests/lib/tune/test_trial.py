"""What Ray Tune runs, without Ray Tune; with it: test_study.py."""

import subprocess
import sys

# In a process of its own, as an actor has one: nothing of torch is loaded before.
TRACKED = """
import gc
from lib.cluster import Placement
from lib.tune.trial import Task, Trial

task = Task(config=None, runs=None, notes=None, placement=Placement(0, False, 1))
trial = object.__new__(Trial)
trial._begin = lambda config: None
trial.setup({}, task)
assert gc.isenabled()
print(len(gc.get_objects()), gc.get_freeze_count())
"""


def test_an_actor_leaves_what_torch_brings_out_of_the_search_for_cycles() -> None:
    run = subprocess.run([sys.executable, "-c", TRACKED], capture_output=True, text=True, check=True)
    tracked, frozen = map(int, run.stdout.split())
    assert frozen > 100 * tracked, (tracked, frozen)
