"""python -m cluster.vm: Ray's launcher takes the file, its commands are shell, mistakes are sentences."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.vm.launcher import launcher_yaml
from lib.config.clusters import VmConfig
from lib.config.load import load
from lib.errors import UserError

ROOT = Path(__file__).parents[2]
# Where pip put the programs that tests call.
BIN = Path(sys.executable).parent
CONFIG = VmConfig(head="10.0.0.10", workers=("10.0.0.11", "node-2.example"), key="/keys/id")


def test_ray_takes_the_file_and_keeps_every_worker() -> None:
    values = prepare_config(yaml.safe_load(launcher_yaml(CONFIG)))
    validate_config(values)
    node = values["available_node_types"]["local.cluster.node"]
    assert node["min_workers"] == node["max_workers"] == 2
    assert values["provider"] == {
        "type": "local",
        "head_ip": "10.0.0.10",
        "worker_ips": ["10.0.0.11", "node-2.example"],
    }
    assert values["auth"]["ssh_private_key"] == "/keys/id"


def test_a_head_alone_is_a_cluster() -> None:
    values = prepare_config(yaml.safe_load(launcher_yaml(VmConfig(head="10.0.0.10"))))
    validate_config(values)
    assert values["max_workers"] == 0


def test_every_machine_gets_the_code_but_not_what_is_only_here(tmp_path: Path) -> None:
    values = yaml.safe_load(launcher_yaml(CONFIG))
    assert values["file_mounts"]["~/manta"] == str(ROOT)
    left_here = set(values["rsync_exclude"])
    assert {".git", ".venv", "runs"} <= left_here
    # rsync leaves out a name wherever it stands, so none of the code may be called so.
    listed = subprocess.run(
        ["git", "ls-files", "lib", "jobs", "serving"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not left_here & {part for path in listed.stdout.splitlines() for part in path.split("/")}


def test_its_commands_are_shell() -> None:
    values = yaml.safe_load(launcher_yaml(CONFIG))
    commands = [line for key in values if key.endswith("_commands") for line in values[key]]
    assert len(commands) == 6
    script = "#!/bin/bash\n" + "\n".join(commands)
    # SC2164: what a `cd` that fails leads to is the launcher's to handle; SC2154: RAY_HEAD_IP comes from it.
    checked = subprocess.run(
        [BIN / "shellcheck", "--exclude=SC2164,SC2154", "-"], input=script, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout


def test_every_start_asks_for_the_token_and_has_metrics() -> None:
    values = yaml.safe_load(launcher_yaml(CONFIG))
    for role in ("head", "worker"):
        start = values[f"{role}_start_ray_commands"][-1]
        assert "RAY_AUTH_MODE=token" in start
        assert "--metrics-export-port=8080" in start
    assert "--dashboard-host=127.0.0.1" in values["head_start_ray_commands"][-1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "head"),
        (["head=10.0.0.300"], "neither an IP address nor a host name"),
        (["head=10.0.0.1", "workers=[10.0.0.1]"], "10.0.0.1: given twice"),
        (["head=a", "user=Root;"], "user="),
        (["head=a", "storage=runs"], "storage="),
        (["head=a", "extras=train serve"], "extras="),
        (["head=a", "worker=[b]"], "did you mean workers"),
    ],
)
def test_what_cannot_work_is_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as error:
        load(VmConfig, words)
    assert sentence in str(error.value)


def vm(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    words = ("head=10.0.0.10", f"key={folder / 'key'}", f"out={folder / 'cluster.yaml'}", *words)
    return subprocess.run(
        [sys.executable, "-m", "cluster.vm", *words, f"token_file={folder / 'token'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.mark.integration
def test_file_and_token_are_written_once(tmp_path: Path) -> None:
    refused = vm(tmp_path)
    assert refused.returncode == 2
    assert "no such file" in refused.stderr
    (tmp_path / "key").touch()
    assert vm(tmp_path, "--dry-run").returncode == 0
    assert not (tmp_path / "token").exists()
    assert vm(tmp_path).returncode == 0
    token = tmp_path / "token"
    assert token.stat().st_mode & 0o777 == 0o600
    before = token.read_text()
    assert len(before) == 64
    # The same again is fine; another file is not overwritten.
    assert vm(tmp_path).returncode == 0
    assert token.read_text() == before
    refused = vm(tmp_path, "user=other")
    assert refused.returncode == 2
    assert "is there already" in refused.stderr
