"""Prometheus for a Ray on this machine, with rules and dashboards.

python -m cluster.observe up port=9090
python -m cluster.observe down
"""

from pathlib import Path

from cluster.observe.settings import FILES
from cluster.observe.stack import start, stop
from cluster.verbs import Verbs, run_verb
from lib.config.clusters import ObserveConfig, ObserveFolderConfig
from lib.config.load import load, show_plan
from lib.console import block, run_job, say


def main() -> None:
    """Do what the first word says."""
    run_verb(VERBS, prog="python -m cluster.observe", doc=__doc__, place="a local Prometheus")


def up(words: list[str]) -> None:
    """Start Prometheus, and Grafana where it is installed, and say where they are."""
    prog, description = "python -m cluster.observe up", "Start Prometheus for the Ray on this machine."
    loaded = load(ObserveConfig, words, prog=prog, description=description)
    config = loaded.config
    if loaded.dry_run:
        show_plan(
            loaded, [f"Prometheus at 127.0.0.1:{config.port} reads what these files name:", *config.targets]
        )
        return
    urls = start(config)
    there = [each for each in config.targets if Path(each).exists()]
    rows = {
        "prometheus": urls["prometheus"],
        "alerts": f"{urls['prometheus']}/alerts",
        "grafana": urls.get("grafana", f"not installed; elsewhere import {FILES / 'dashboards'}/*.json"),
        "reads": ", ".join(there) or "nothing yet: no Ray is running; python -m cluster.local up",
        "end it": f"python -m cluster.observe down{_folder(config)}",
    }
    block("Prometheus runs on this machine", rows)


def down(words: list[str]) -> None:
    """End what runs; what was read is kept."""
    prog, description = "python -m cluster.observe down", "End the Prometheus and Grafana of a folder."
    folder = Path(load(ObserveFolderConfig, words, prog=prog, description=description).config.folder)
    count = stop(folder)
    say(f"{count} processes have ended; data: {folder / 'data'}" if count else "nothing was running")


def _folder(config: ObserveFolderConfig) -> str:
    default = ObserveFolderConfig.model_fields["folder"].default
    return "" if config.folder == default else f" folder={config.folder}"


VERBS: Verbs = {"up": up, "down": down}

if __name__ == "__main__":
    run_job(main)
