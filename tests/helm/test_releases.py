"""The life of a release through Helm: installed, upgraded, refused, rolled back, and gone without a trace."""

from collections.abc import Iterator

import helm_python
import pytest

from tests.helm.api_server import ApiServer, api_server
from tests.helm.charts import CHARTS, Charts, Object, profiles

pytestmark = pytest.mark.integration


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with api_server() as started:
        yield started


@pytest.fixture
def helm(server: ApiServer) -> Iterator[helm_python.Config]:
    with helm_python.Config(
        kubeconfig_content=server.kubeconfig, namespace="team", storage_driver="memory"
    ) as config:
        yield config


def values(chart: str) -> Object:
    return profiles(chart)["minimal"]


@pytest.mark.parametrize("chart", CHARTS)
def test_installed_and_gone_without_a_trace(
    charts: Charts, server: ApiServer, helm: helm_python.Config, chart: str
) -> None:
    release = helm.install(charts.loaded[chart], "demo", values(chart), namespace="team")
    assert (release["status"], release["revision"]) == ("deployed", 1)
    rendered = charts.render(chart, values(chart))
    wanted = sorted(
        (each["kind"], each["metadata"]["name"])
        for each in rendered
        if "helm.sh/hook" not in each["metadata"].get("annotations", {})
    )
    assert sorted((e["kind"], e["metadata"]["name"]) for e in server.objects.values()) == wanted
    helm.uninstall("demo")
    assert server.objects == {}


def test_upgrades_refusals_and_the_way_back(
    charts: Charts, server: ApiServer, helm: helm_python.Config
) -> None:
    chart = charts.loaded["manta-serve"]
    first: Object = {"endpoint": {"bundle": "runs/a/bundle"}}
    helm.install(chart, "demo", first, namespace="team")
    before = dict(server.objects)

    helm.upgrade(chart, "demo", {"endpoint": {"bundle": "runs/b/bundle"}})
    (service,) = [each for each in server.objects.values() if each["kind"] == "RayService"]
    assert "runs/b/bundle" in service["spec"]["serveConfigV2"]
    upgraded = dict(server.objects)

    # Refused by the schema, by a rule, and by the cluster; the first two change nothing at all.
    server.changes.clear()
    with pytest.raises(helm_python.HelmError, match="max_replica"):
        helm.upgrade(chart, "demo", {"endpoint": {"serve": {"max_replica": 2}}})
    with pytest.raises(helm_python.HelmError, match=r"endpoint\.serve\.min_replicas=2"):
        helm.upgrade(chart, "demo", {"endpoint": {"serve": {"min_replicas": 2}}})
    assert server.changes == []
    assert server.objects == upgraded
    server.refuse = "rayservices"
    with pytest.raises(helm_python.HelmError, match="denied"):
        helm.upgrade(chart, "demo", {"endpoint": {"bundle": "runs/c/bundle"}})
    server.refuse = ""
    assert [each["status"] for each in helm.history("demo")] == ["superseded", "deployed", "failed"]

    helm.rollback("demo", version=1)
    assert server.objects == before
    helm.uninstall("demo")
    assert server.objects == {}


def test_an_upgrade_keeps_the_token(charts: Charts, server: ApiServer, helm: helm_python.Config) -> None:
    def token() -> str:
        (secret,) = [each for each in server.objects.values() if each["kind"] == "Secret"]
        return str(secret["data"]["tokens"])

    chart = charts.loaded["manta-serve"]
    helm.install(chart, "demo", {}, namespace="team")
    first = token()
    helm.upgrade(chart, "demo", {"endpoint": {"bundle": "runs/b/bundle"}})
    assert token() == first
    helm.uninstall("demo")
    helm.install(chart, "demo", {}, namespace="team")
    assert token() != first
    helm.uninstall("demo")


def test_a_run_that_ended_is_never_touched(
    charts: Charts, server: ApiServer, helm: helm_python.Config
) -> None:
    chart = charts.loaded["manta-jobs"]
    jobs: Object = {
        "a": {"job": {"finetune": {"run": {"name": "a"}}}},
        "b": {"job": {"pack": {"source": "digits", "out": "runs/datasets/digits"}}},
    }

    def runs() -> dict[str, Object]:
        return {
            path: each for path, each in server.objects.items() if "rayjobs" in path or "configmaps" in path
        }

    helm.install(chart, "demo", {"jobs": jobs}, namespace="team")
    first = runs()
    assert len(first) == 4

    helm.upgrade(chart, "demo", {"jobs": jobs, "networkPolicy": {"enabled": False}})
    assert runs() == first

    # A changed job is a new run beside those that are kept, and does nothing to them.
    kept: Object = {"keepRuns": True}
    helm.upgrade(chart, "demo", {"jobs": jobs} | kept)
    before = runs()
    helm.upgrade(chart, "demo", {"jobs": jobs | {"a": {"job": {"finetune": {"run": {"name": "a2"}}}}}} | kept)
    after = runs()
    assert len(after) == 6
    assert {path: after[path] for path in before} == before

    # What was to be kept stays; a run that was not goes with the next.
    helm.upgrade(chart, "demo", {"jobs": jobs | {"a": {"job": {"finetune": {"run": {"name": "a3"}}}}}})
    helm.upgrade(chart, "demo", {"jobs": jobs | {"a": {"job": {"finetune": {"run": {"name": "a4"}}}}}})
    assert len(server.names("RayJob")) == 4
