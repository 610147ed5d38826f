"""The rules as Prometheus sees them: valid, and each alert fires when it should and is quiet when not."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from cluster.observe.settings import local_rules
from helm.monitoring.files import rules
from helm.monitoring.rule import Alert, Record
from tests.helm.alerts import cluster, serving, training
from tests.helm.alerts.case import Case
from tests.helm.charts import HELM, ROOT, Charts, Object
from tests.prometheus import PROMTOOL, needs_prometheus

FILES = {name: [rule for group in groups.values() for rule in group] for name, groups in rules().items()}
ALERTS = {rule.name: rule for each in FILES.values() for rule in each if isinstance(rule, Alert)}
BY_FILE = {
    "targets": cluster.TARGETS,
    "cluster": cluster.CASES,
    "serving": serving.CASES,
    "training": training.CASES,
}
CASES = [case for cases in BY_FILE.values() for case in cases]


def promtool(*words: str) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def written(folder: Path) -> list[str]:
    """The files of rules as a local Prometheus gets them."""
    for path in (HELM / "manta-monitoring/files/rules").glob("*.yaml"):
        (folder / path.name).write_text(local_rules(path.read_text()))
    return [str(path) for path in sorted(folder.glob("*.yaml"))]


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_quiet() -> None:
    for fires in (True, False):
        assert {case.alert for case in CASES if bool(case.fires) == fires} == set(ALERTS)


@needs_prometheus
def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    written(tmp_path)
    for name, cases in BY_FILE.items():
        for step in {case.step for case in cases}:
            tests = [as_test(case) for case in cases if case.step == step]
            made = {"rule_files": [f"{name}.yaml"], "evaluation_interval": step, "tests": tests}
            (tmp_path / f"{name}-{step}.tests").write_text(yaml.safe_dump(made))
    promtool("test", "rules", *map(str, tmp_path.glob("*.tests")))


def as_test(case: Case) -> Object:
    """A case as promtool reads it: what is firing is a series of its own."""
    fired = {"alertname": case.alert, "alertstate": "firing", "severity": ALERTS[case.alert].severity}
    labels = ",".join([*(f'{name}="{value}"' for name, value in fired.items()), case.fires])
    expected = [{"labels": f"ALERTS{{{labels}}}", "value": 1}] if case.fires else []
    expr = f'ALERTS{{alertname="{case.alert}",alertstate="firing"}}'
    return {
        "name": f"{case.alert}: {case.about}",
        "interval": case.step,
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "promql_expr_test": [{"expr": expr, "eval_time": case.at, "exp_samples": expected}],
    }


@needs_prometheus
def test_rules_are_valid_here_and_on_kubernetes(charts: Charts, tmp_path: Path) -> None:
    names = written(tmp_path)
    values = {
        "assumeInstalled": True,
        "podMonitors": {"namespaces": ["team-a", "team-b"]},
        "rules": {
            "runbooks": "https://git.example.com/runbooks.md",
            "slowSeconds": "1.0",
            "errorBudget": 1e-5,
        },
    }
    for each in charts.render("manta-monitoring", values):
        if each["kind"] == "PrometheusRule":
            text = yaml.safe_dump(each["spec"])
            # Labels and values are left to Prometheus; all else is filled in.
            assert set(re.findall(r"\$\w+", text)) <= {"$labels", "$value"}
            assert 'namespace=~"team-a|team-b"' in text or "manta_job" in text
            path = tmp_path / f"{each['metadata']['name']}.yaml"
            path.write_text(text)
            names.append(str(path))
    assert len(names) == 2 * len(FILES)
    promtool("check", "rules", *names)


def test_names_are_not_given_twice() -> None:
    named = [rule.name for each in FILES.values() for rule in each]
    assert len(set(named)) == len(named)
    records = {rule.name for each in FILES.values() for rule in each if isinstance(rule, Record)}
    asked = {name for rule in ALERTS.values() for name in re.findall(r"manta:\w+:\w+", rule.expr)}
    assert asked <= records


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_a_chapter_in_the_runbooks(name: str) -> None:
    page = (ROOT / "docs/runbooks.md").read_text()
    _, heading, rest = page.partition(f"\n### {name}\n")
    assert heading, f"docs/runbooks.md has no heading ### {name}"
    chapter = rest.partition("\n### ")[0]
    for part in ("*Means.*", "*Look.*", "*Do.*"):
        assert part in chapter, part


def test_the_runbooks_know_no_alert_that_is_gone() -> None:
    page = (ROOT / "docs/runbooks.md").read_text()
    assert set(re.findall(r"^### (\w+)$", page, re.MULTILINE)) == set(ALERTS)
