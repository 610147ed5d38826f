"""A Ray on this machine, with metrics and a token: python -m cluster.local up | status | down [key=value …]

python -m cluster.local up num_cpus=2
source runs/cluster/env
ray job submit --working-dir . -- python jobs/finetune.py jobs/presets/digits.yaml run.name=digits
python -m cluster.local down
"""

from pathlib import Path

from cluster.local.head import command, start, stop
from cluster.local.members import members
from cluster.verbs import Verbs, run_verb
from lib.config.clusters import FolderConfig, LocalConfig
from lib.config.load import load, show_plan
from lib.console import block, run_job, say
from lib.errors import RunError
from lib.ports import free_ports


def main() -> None:
    """Do what the first word says."""
    run_verb(VERBS, prog="python -m cluster.local", doc=__doc__, place="a local Ray")


def up(words: list[str]) -> None:
    """Start Ray, and say how it is joined."""
    prog, description = "python -m cluster.local up", "Start a Ray on this machine, with metrics and a token."
    loaded = load(LocalConfig, words, prog=prog, description=description)
    config = loaded.config
    if loaded.dry_run:
        show_plan(loaded, [" ".join(command(config, "TEMPORARY", free_ports(2)))])
        return
    joins = start(config)
    rows = {
        "dashboard": joins["RAY_API_SERVER_ADDRESS"],
        "token": joins["RAY_AUTH_TOKEN_PATH"],
        "metrics": f"http://127.0.0.1:{config.metrics_port}/metrics",
        "join it": f"source {Path(config.folder) / 'env'}",
        "next": "ray job submit --working-dir . -- python jobs/finetune.py jobs/presets/digits.yaml",
        "end it": f"python -m cluster.local down{_folder(config)}",
    }
    block("Ray runs on this machine", rows)


def status(words: list[str]) -> None:
    """Say whether it runs; RunError if not."""
    prog = "python -m cluster.local status"
    config = load(FolderConfig, words, prog=prog, description="Say whether it runs.").config
    count = len(members(Path(config.folder)))
    if not count:
        raise RunError(f"no Ray of {config.folder} runs", f"python -m cluster.local up{_folder(config)}")
    say(f"{count} processes run; join them: source {Path(config.folder) / 'env'}")


def down(words: list[str]) -> None:
    """End Ray."""
    prog, description = "python -m cluster.local down", "End a local Ray, and all that runs on it."
    folder = Path(load(FolderConfig, words, prog=prog, description=description).config.folder)
    count = stop(folder)
    say(f"{count} processes have ended; logs: {folder / 'logs'}" if count else "nothing was running")


def _folder(config: FolderConfig) -> str:
    default = FolderConfig.model_fields["folder"].default
    return "" if config.folder == default else f" folder={config.folder}"


VERBS: Verbs = {"up": up, "status": status, "down": down}

if __name__ == "__main__":
    run_job(main)
