"""Every rule of KubeRay's operator: values that break it, and the sentence that refuses them."""

import helm_python
import pytest

from tests.helm import broken_cluster, broken_jobs, broken_serve
from tests.helm.broken import HA, INCREMENTAL, job
from tests.helm.charts import Charts, Object
from tests.helm.kubernetes import problems

RULES = broken_cluster.RULES | broken_jobs.RULES | broken_serve.RULES


@pytest.mark.parametrize(("chart", "values", "given", "allowed"), RULES.values(), ids=RULES)
def test_a_rule_is_broken_and_refused(
    charts: Charts, chart: str, values: Object, given: str, allowed: str
) -> None:
    with pytest.raises(helm_python.HelmRenderError) as refused:
        charts.render(chart, values)
    said = str(refused.value)
    assert f"\n{given}" in said
    assert allowed in said
    assert "s3cret" not in said


KEPT: dict[str, tuple[str, Object]] = {
    "autoscaler with v1": (
        "manta-cluster",
        {"autoscaling": {"enabled": True, "version": "v1"}, "head": {"restartPolicy": "Always"}},
    ),
    "no tokens and no version": ("manta-cluster", {"auth": {"enabled": False}, "rayVersion": ""}),
    "token of Kubernetes": ("manta-cluster", {"auth": {"kubernetes": True}}),
    "rocksdb": ("manta-cluster", {"gcs": {"backend": "rocksdb", "rocksdb": {"size": "1Gi"}}}),
    "resources of the head once": (
        "manta-cluster",
        {"head": {"rayResources": {"CPU": "0"}, "rayStartParams": {"num-cpus": None}}},
    ),
    "volcano": ("manta-cluster", {"scheduling": {"scheduler": "volcano", "queue": "q", "gang": True}}),
    "deletion rules": (
        "manta-jobs",
        job(deletionRules=[{"policy": "DeleteSelf", "jobStatus": "SUCCEEDED", "ttlSeconds": 60}]),
    ),
    "sidecar": ("manta-jobs", job(submissionMode="SidecarMode")),
    "interactive": ("manta-jobs", job(submissionMode="InteractiveMode")),
    "UTC": ("manta-jobs", job(schedule="*/5 1-3 * JAN MON-FRI", timeZone="Etc/UTC")),
    "a zone on UTC": ("manta-jobs", job(schedule="@every 1h", timeZone="Africa/Abidjan")),
    "incremental": ("manta-serve", INCREMENTAL),
    "highly available": ("manta-serve", HA),
}


@pytest.mark.parametrize(("chart", "values"), KEPT.values(), ids=KEPT)
def test_what_is_next_to_a_rule_is_taken(charts: Charts, chart: str, values: Object) -> None:
    found = charts.render(chart, values)
    assert [said for each in found for said in problems(each)] == []


WRONG: dict[str, tuple[str, Object, str]] = {
    "a key misspelt": ("manta-serve", {"endpiont": {}}, "endpiont"),
    "a word misspelt": ("manta-serve", {"endpoint": {"serve": {"max_replica": 2}}}, "max_replica"),
    "text for a number": (
        "manta-serve",
        {"endpoint": {"serve": {"max_replicas": "2"}}},
        "/endpoint/serve/max_replicas",
    ),
    "a section removed": ("manta-cluster", {"image": None}, "image"),
    "a job of no kind": ("manta-jobs", {"jobs": {"a": {"job": {}}}}, "/jobs/a/job"),
    "a job of two kinds": (
        "manta-jobs",
        {"jobs": {"a": {"job": {"pack": {}, "finetune": {}}}}},
        "/jobs/a/job",
    ),
    "a job of an unknown kind": ("manta-jobs", {"jobs": {"a": {"job": {"dance": {}}}}}, "dance"),
    "a word of another job": ("manta-jobs", {"jobs": {"a": {"job": {"pack": {"optim": {}}}}}}, "optim"),
    "a choice that does not exist": (
        "manta-jobs",
        {"jobs": {"a": {"job": {"finetune": {"optim": {"schedule": "cosin"}}}}}},
        "/jobs/a/job/finetune/optim/schedule",
    ),
    "a password in values": (
        "manta-cluster",
        {"gcs": {"redis": {"password": "s3cret"}}},
        "/gcs/redis/password",
    ),
}


@pytest.mark.parametrize(("chart", "values", "path"), WRONG.values(), ids=WRONG)
def test_what_the_schema_does_not_know_is_refused(
    charts: Charts, chart: str, values: Object, path: str
) -> None:
    with pytest.raises(helm_python.HelmValuesError) as refused:
        charts.render(chart, values)
    assert path in str(refused.value)
