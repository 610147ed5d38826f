"""Manta on a laptop's Kubernetes: python -m cluster.kind up | down [key=value …] [--dry-run]

From nothing to the answer to a first request: a kind cluster, the operator, a job, an endpoint.
"""

import base64
import subprocess
from shlex import join

from cluster.kind.first_request import first_request
from cluster.kind.steps import TOOLS, down_step, forward_command, token_command, up_steps
from cluster.kind.tools import check_tools, run
from cluster.verbs import Verbs, run_verb
from lib.config.clusters import KindConfig, KindDownConfig
from lib.config.load import load, show_plan
from lib.console import block, run_job, say
from lib.errors import RunError


def main() -> None:
    """Do what the first word says."""
    run_verb(VERBS, prog="python -m cluster.kind", doc=__doc__, place="kind")


def up(words: list[str]) -> None:
    """Run every step, then ask the endpoint."""
    description = "Bring Manta up on a Kubernetes of this machine: operator, job, endpoint, first request."
    loaded = load(KindConfig, words, prog="python -m cluster.kind up", description=description)
    config = loaded.config
    if loaded.dry_run:
        show_plan(loaded, [join(step.command) for step in up_steps(config, exists=False)])
        return
    check_tools(TOOLS if config.build else TOOLS[1:])
    clusters = subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=False)
    for step in up_steps(config, exists=config.name in clusters.stdout.split()):
        run(step)
    secret = subprocess.run(token_command(config), capture_output=True, check=False)
    tokens = base64.b64decode(secret.stdout).decode().split()
    if not tokens:
        raise RunError("the endpoint's tokens are not there", f"look: {join(token_command(config))}")
    say(first_request(config, tokens[0]))
    rows = {
        "reach it": join(forward_command(config)),
        "token": f"{join(token_command(config))} | base64 -d",
        "page": f"http://127.0.0.1:{config.port}/ (any name, the token as password)",
        "end it": f"python -m cluster.kind down name={config.name}",
    }
    block("the endpoint has answered", rows)


def down(words: list[str]) -> None:
    """Delete the cluster."""
    description = "Delete the kind cluster, and all that is in it."
    loaded = load(KindDownConfig, words, prog="python -m cluster.kind down", description=description)
    step = down_step(loaded.config.name)
    if loaded.dry_run:
        show_plan(loaded, [join(step.command)])
        return
    check_tools(("kind",))
    run(step)


VERBS: Verbs = {"up": up, "down": down}

if __name__ == "__main__":
    run_job(main)
