"""What a local Prometheus is told, and who is told that there is none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster.ask import ask
from cluster.local.members import members
from cluster.observe import stack
from cluster.observe.settings import FILES, settings, write_settings
from helm.monitoring.files import rules
from helm.monitoring.rule import WORDS
from lib.config.clusters import ObserveConfig
from lib.config.load import load
from lib.errors import UserError
from tests.conftest import free_port
from tests.prometheus import PROMTOOL, needs_prometheus

ROOT = Path(__file__).parents[2]


def observe(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cluster.observe", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_words_of_rules_are_filled_in(tmp_path: Path) -> None:
    written = settings(ObserveConfig(), tmp_path)
    rules = {name: text for name, text in written.items() if name.startswith("rules/")}
    assert {Path(name).name for name in rules} == {path.name for path in (FILES / "rules").glob("*.yaml")}
    for text in rules.values():
        assert not any(word in text for word in WORDS)
        for rule in [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]:
            if "alert" in rule:
                link, _, anchor = rule["annotations"]["runbook_url"].partition("#")
                assert Path(link.removeprefix("file://")).samefile(ROOT / "docs/runbooks.md")
                assert anchor == rule["alert"].lower()


@needs_prometheus
def test_the_configuration_is_valid(tmp_path: Path) -> None:
    config = ObserveConfig(targets=(str(tmp_path / "targets.json"),), interval_s=2)
    (tmp_path / "targets.json").write_text('[{"labels": {"job": "ray"}, "targets": ["127.0.0.1:8080"]}]')
    write_settings(config, tmp_path / "observe")
    assert PROMTOOL is not None
    checked = subprocess.run(
        [PROMTOOL, "check", "config", str(tmp_path / "observe/prometheus.yml")],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "WARNING" not in checked.stdout


def test_grafana_finds_the_dashboards_and_the_data(tmp_path: Path) -> None:
    written = settings(ObserveConfig(port=9191, grafana_port=3131), tmp_path)
    (source,) = yaml.safe_load(written["provisioning/datasources/manta.yaml"])["datasources"]
    assert source["url"] == "http://127.0.0.1:9191"
    (provider,) = yaml.safe_load(written["provisioning/dashboards/manta.yaml"])["providers"]
    assert {path.stem for path in Path(provider["options"]["path"]).glob("*.json")} == {
        "training",
        "serving",
        "cluster",
    }
    assert "http_addr = 127.0.0.1\nhttp_port = 3131" in written["grafana.ini"]
    assert f"provisioning = {tmp_path / 'provisioning'}" in written["grafana.ini"]


def test_a_machine_without_prometheus_is_told_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no program called prometheus") as error:
        stack.start(ObserveConfig(folder=str(tmp_path / "observe")))
    assert "apt-get install prometheus" in str(error.value.hint)
    assert not (tmp_path / "observe").exists()


def test_two_servers_at_one_port_are_refused() -> None:
    with pytest.raises(UserError, match="grafana_port=9090 is port too"):
        load(ObserveConfig, ["grafana_port=9090"])


@needs_prometheus
@pytest.mark.integration
def test_it_comes_up_with_all_rules_and_goes_without_a_trace(tmp_path: Path) -> None:
    port, words = free_port(), [f"folder={tmp_path}", f"targets=[{tmp_path / 'none.json'}]"]
    try:
        up = observe("up", f"port={port}", *words)
        assert up.returncode == 0, up.stderr
        url = f"http://127.0.0.1:{port}"
        assert f"{url}/alerts" in up.stdout
        groups = json.loads(ask(f"{url}/api/v1/rules", "", timeout_s=10))["data"]["groups"]
        named = {rule["name"] for group in groups for rule in group["rules"]}
        assert named == {rule.name for each in rules().values() for group in each.values() for rule in group}
        with pytest.raises(UserError, match="is running"):
            stack.start(ObserveConfig(folder=str(tmp_path)))
    finally:
        down = observe("down", f"folder={tmp_path}")
    assert "have ended" in down.stdout
    assert members(tmp_path) == set()
    assert (tmp_path / "data").is_dir()


@pytest.mark.integration
def test_a_wrong_verb_is_refused() -> None:
    refused = observe("start")
    assert refused.returncode == 2
    assert "up | down" in refused.stderr
