"""The file of Ray's cluster launcher (`ray up`) for machines that are there already.

launcher_yaml(VmConfig(head="10.0.0.10", workers=("10.0.0.11",)))
"""

from pathlib import Path

import yaml

from lib.config.clusters import VmConfig
from lib.runtime import ENVIRONMENT

ROOT = Path(__file__).parents[2]
_CODE = "~/manta"
# What Ray's own defaults are for the other fields: ray/autoscaler/local/defaults.yaml.
_LEFT_HERE = (
    ".git",
    ".venv",
    "runs",
    "tests",
    "benchmarks",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
)


def launcher_yaml(config: VmConfig) -> str:
    """Return the text of the file; every machine gets this checkout, a virtual environment and the token."""
    values = {
        "cluster_name": config.name,
        "provider": {"type": "local", "head_ip": config.head, "worker_ips": list(config.workers)},
        "auth": {"ssh_user": config.user, "ssh_private_key": config.key},
        # All of them, always: these machines cost the same idle.
        "max_workers": len(config.workers),
        # Ray looks for a token where a user's own lies.
        "file_mounts": {_CODE: str(ROOT), "~/.ray/auth_token": str(Path(config.token_file).absolute())},
        "rsync_exclude": list(_LEFT_HERE),
        "setup_commands": setup_commands(config.extras),
        "head_start_ray_commands": start_commands(
            config,
            "--head --port=6379 --dashboard-host=127.0.0.1 --autoscaling-config=~/ray_bootstrap_config.yaml",
        ),
        "worker_start_ray_commands": start_commands(config, '--address="$RAY_HEAD_IP:6379"'),
    }
    head = "# Written by python -m cluster.vm; cluster/vm/README.md says what to do with it.\n"
    return head + yaml.safe_dump(values, sort_keys=False, width=200)


def setup_commands(extras: str) -> list[str]:
    """Install the checkout with the versions of constraints.txt; a second time takes seconds."""
    return [
        f"chmod 600 ~/.ray/auth_token && ([ -x {_CODE}/.venv/bin/pip ] || python3 -m venv {_CODE}/.venv)",
        f"cd {_CODE} && .venv/bin/pip install --quiet --constraint constraints.txt --editable '.[{extras}]'",
    ]


def start_commands(config: VmConfig, words: str) -> list[str]:
    """Start Ray of the virtual environment, asking for the token, with metrics."""
    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "MANTA_HOME": config.storage,
    } | ENVIRONMENT
    exports = " ".join(f"{name}={value}" for name, value in settings.items())
    ray = f"{_CODE}/.venv/bin/ray"
    return [
        f"{ray} stop",
        f"export PATH={_CODE}/.venv/bin:$PATH {exports}; ulimit -n 65536; "
        f"{ray} start {words} --metrics-export-port=8080",
    ]
