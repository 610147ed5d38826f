"""What Prometheus is told to read, and how rules and dashboards come in as files."""

import json
from pathlib import Path

from tests.helm.charts import Charts, Object, only, pods, profiles

ASSUMED: Object = {"assumeInstalled": True}


def test_only_what_everybody_knows_is_made_where_nobody_knows_the_kinds(charts: Charts) -> None:
    assert {each["kind"] for each in charts.render("manta-monitoring")} == {"ConfigMap"}
    kinds = {each["kind"] for each in charts.render("manta-monitoring", ASSUMED)}
    assert kinds == {"ConfigMap", "PodMonitor", "PrometheusRule"}


def test_every_port_that_is_read_is_one_of_the_pods(charts: Charts) -> None:
    monitors = [e for e in charts.render("manta-monitoring", ASSUMED) if e["kind"] == "PodMonitor"]
    assert len(monitors) == 2
    cluster = only(charts.render("manta-cluster"), "RayCluster")
    for monitor in monitors:
        is_head = monitor["spec"]["selector"]["matchLabels"]["ray.io/node-type"] == "head"
        templates = [pod for path, pod in pods([cluster]) if ("headGroupSpec" in path) == is_head]
        for template in templates:
            names = {each["name"] for each in template["spec"]["containers"][0]["ports"]}
            assert {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]} <= names
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert "ray_io_cluster" in [each["targetLabel"] for each in endpoint["relabelings"]]


def test_the_network_policy_lets_prometheus_at_those_ports(charts: Charts) -> None:
    policy = only(charts.render("manta-cluster"), "NetworkPolicy")["spec"]["ingress"]
    (rule,) = [
        each
        for each in policy
        if {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
        in each["from"]
    ]
    assert [each["port"] for each in rule["ports"]] == [8080, 44217, 44227]


def test_namespaces_and_labels_arrive(charts: Charts) -> None:
    found = charts.render("manta-monitoring", profiles("manta-monitoring")["ha"])
    for each in [each for each in found if each["kind"] != "ConfigMap"]:
        assert each["metadata"]["labels"]["release"] == "monitoring"
        if each["kind"] == "PodMonitor":
            assert each["spec"]["namespaceSelector"]["matchNames"] == ["team-a", "team-b"]
        else:
            assert 'namespace=~"team-a|team-b"' in each["spec"]["groups"][0]["rules"][0]["expr"]
    # What Prometheus fills in is left to it.
    (targets,) = [each for each in found if each["metadata"]["name"].endswith("-targets")]
    assert "{{ $labels.pod }}" in targets["spec"]["groups"][0]["rules"][0]["annotations"]["summary"]


def test_a_dashboard_is_a_file(charts: Charts, tmp_path: Path) -> None:
    copied = Charts(tmp_path / "charts")
    board = {"title": "Training", "panels": [{"legend": "{{ instance }}"}]}
    folder = copied.folder / "manta-monitoring/files/dashboards"
    (folder / "another.json").write_text(json.dumps(board))
    configs = {name: each for each in copied.render("manta-monitoring") for name in each["data"]}
    assert set(configs) == {path.name for path in folder.glob("*.json")}
    assert json.loads(configs["another.json"]["data"]["another.json"]) == board
    for path in folder.glob("*.json"):
        assert json.loads(configs[path.name]["data"][path.name]) == json.loads(path.read_text())
        # A ConfigMap holds a mebibyte, and `kubectl apply` without --server-side a quarter of it.
        assert path.stat().st_size < 2**18
    for config in configs.values():
        assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert config["metadata"]["annotations"] == {"grafana_folder": "Manta"}
    assert copied.render("manta-monitoring", {"dashboards": {"enabled": False}}) == []
    copied.close()
