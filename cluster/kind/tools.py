"""Running the programs that a step names.

check_tools(("kind", "helm"))
run(Step("delete the cluster", ("kind", "delete", "cluster")))
"""

import shutil
import subprocess
from shlex import join

from cluster.kind.steps import Step
from lib.console import say
from lib.errors import RunError, UserError


def check_tools(tools: tuple[str, ...]) -> None:
    """Raise UserError that names every program that is missing."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise UserError(
            f"not on PATH: {', '.join(missing)}", "cluster/kind/README.md says where they come from"
        )


def run(step: Step) -> None:
    """Run a step in view of the user; RunError if it fails."""
    say(f"\n{step.about}\n$ {join(step.command)}")
    if subprocess.run(step.command, check=False).returncode:
        raise RunError(f"could not {step.about}", step.hint or "see what it said above; then run this again")
