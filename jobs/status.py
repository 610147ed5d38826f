"""Show what trains and what is served, from the metrics that Ray's nodes export, without Prometheus.

python jobs/status.py
python jobs/status.py --watch
python jobs/status.py 'metrics=[10.0.0.4:8080, 10.0.0.5:8080]' seconds=30
"""

import sys
import time

from lib.cluster import metrics_addresses
from lib.config.load import load, show_plan
from lib.config.status import StatusConfig
from lib.console import run_job, say
from lib.errors import RunError
from lib.track.scrape import Snapshot, scrape
from lib.track.status import status

_CLEAR = "\x1b[H\x1b[2J"


def main() -> None:
    flags = {"--watch": "Show it again and again, until Ctrl-C."}
    description = "Show what trains and what is served."
    loaded = load(
        StatusConfig, sys.argv[1:], prog="python jobs/status.py", description=description, flags=flags
    )
    addresses = loaded.config.metrics or metrics_addresses()
    show_plan(loaded, [f"reading {', '.join(addresses)} for {loaded.config.seconds} s"])
    if loaded.dry_run:
        return
    before = look(addresses)
    while True:
        time.sleep(loaded.config.seconds)
        after = look(addresses)
        if "--watch" in loaded.flags and sys.stdout.isatty():
            say(_CLEAR + time.strftime("%H:%M:%S"))
        for line in status(before, after):
            say(line)
        if "--watch" not in loaded.flags:
            return
        before = after


def look(addresses: list[str]) -> Snapshot:
    found = scrape(addresses)
    if not found.answered:
        hint = "is Ray running? Set RAY_ADDRESS, or say where: 'metrics=[HOST:PORT]'"
        raise RunError(f"no metrics at {', '.join(addresses)}", hint)
    return found


if __name__ == "__main__":
    run_job(main)
