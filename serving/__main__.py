"""Start an endpoint: python -m serving bundle=runs/digits/bundle [http.port=8000 …]

It joins the Ray at RAY_ADDRESS, else it starts its own. It prints `ready http://HOST:PORT` once the golden
images came out as they should, and stops cleanly on SIGTERM and Ctrl-C, leaving nothing running. On SIGHUP it
reads rollout.file again.
"""

import os
import sys
import tempfile
from pathlib import Path

from lib.config.load import load, to_yaml
from lib.config.paths import input_path
from lib.config.serving import ServeConfig
from lib.console import run_job, say
from lib.ports import free_ports
from lib.predict.folder import read_folder
from serving.auth import read_tokens
from serving.listen import check_host, check_port, exposure, wait_until_ready
from serving.proxy import fast_environment
from serving.rollout import follow, read_rollout_file
from serving.signals import Stop, listen_to_signals


def main() -> None:
    description = "Start an endpoint for a bundle or an ensemble."
    loaded = load(ServeConfig, sys.argv[1:], prog="python -m serving", description=description)
    config = loaded.config
    model = read_folder(input_path(config.bundle))
    tokens = read_tokens(config.auth)
    rollout = read_rollout_file(config)
    if not tokens:
        check_host(config.http.host)
    joins = "RAY_ADDRESS" in os.environ
    if not joins:
        check_port(config.http.host, config.http.port)
    if loaded.dry_run:
        say(to_yaml(config).rstrip())
        say(f"would serve {model.arch} with {len(model.classes)} classes")
        return

    # A short path: sockets are made in there, and their names are limited to some hundred characters.
    with tempfile.TemporaryDirectory(prefix="manta-", ignore_cleanup_errors=True) as folder:
        if not joins:
            given = {port for port in (config.http.port, config.grpc.port) if port is not None}
            os.environ.update(fast_environment(Path(folder), free_ports(4, besides=given)))
        # Only now: ray.serve reads the environment when it is imported.
        from serving.cluster import endpoint

        try:
            listen_to_signals()
            with endpoint(config, rollout, joins) as roll_out:
                asked = listen_to_signals(
                    hang_up=config.rollout.file is not None
                )  # once more: Ray has put its own in place
                wait_until_ready(config.http, config.grpc)
                say(f"ready http://{config.http.host}:{config.http.port}")
                say(f"{exposure(config, bool(tokens))}; stop it with Ctrl-C or SIGTERM")
                while asked.wait():
                    asked.clear()
                    say("\n".join(follow(config, roll_out)))
        except Stop:
            say("stopped")


if __name__ == "__main__":
    run_job(main)
