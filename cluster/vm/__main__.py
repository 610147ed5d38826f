"""Write the file of Ray's cluster launcher: python -m cluster.vm head=10.0.0.10 'workers=[10.0.0.11]'

ray up runs/vm/cluster.yaml
"""

import os
import secrets
import sys
from pathlib import Path

from cluster.vm.launcher import launcher_yaml
from lib.config.clusters import VmConfig
from lib.config.load import load, show_plan
from lib.console import block, run_job
from lib.errors import UserError
from lib.files import make_folder, write_text


def main() -> None:
    """Check the words, then write the file and, if there is none, the token."""
    description = "Write the file of Ray's cluster launcher for machines that are there already."
    loaded = load(VmConfig, sys.argv[1:], prog="python -m cluster.vm", description=description)
    config = loaded.config
    if not Path(config.key).expanduser().is_file():
        raise UserError(f"key={config.key}: no such file", "give the private key that the machines accept")
    text = launcher_yaml(config)
    if loaded.dry_run:
        show_plan(loaded, text.splitlines())
        return
    out, token = Path(config.out), Path(config.token_file)
    if out.exists() and out.read_text() != text:
        raise UserError(f"{out} is there already, and differs", "give another place: out=FILE")
    for path in (out, token):
        make_folder(path.parent)
    write_token(token)
    write_text(out, text)
    rows = {
        "file": out.absolute(),
        "token": f"{token.absolute()}; who has it may run code on the machines",
        "next": f"ray up {config.out}",
        "jobs": f"ray dashboard {config.out}, and beside it: RAY_AUTH_MODE=token "
        f"RAY_AUTH_TOKEN_PATH={config.token_file} RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265 "
        "ray job submit -- python jobs/finetune.py …",
        "end": f"ray down {config.out}",
    }
    block(f"1 head and {len(config.workers)} workers", rows)


def write_token(path: Path) -> None:
    """Make a token that only this user may read; one that is there stays."""
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(32))


if __name__ == "__main__":
    run_job(main)
