"""Values that break rules: how they are made, and what a case is."""

from tests.helm.charts import Object, merged

# Chart, values, path=given, and what is allowed.
Case = tuple[str, Object, str, str]

DIGITS: Object = {"job": {"finetune": {"run": {"name": "digits"}}}}
SELECTOR = {"clusterSelector": {"ray.io/cluster": "there"}}
INCREMENTAL: Object = {
    "autoscaling": {"enabled": True},
    "upgrade": {"type": "NewClusterWithIncrementalUpgrade", "cluster": {"gatewayClassName": "istio"}},
}
HA: Object = {
    "highAvailability": True,
    "oneReplicaPerNode": True,
    "gcs": {"backend": "redis", "redis": {"address": "redis:6379"}},
    "endpoint": {"bundle": "b", "serve": {"min_replicas": 2, "max_replicas": 2}},
    "workers": {"workers": {"replicas": 2}},
    "podDisruptionBudget": {"minAvailableWorkers": 1},
}


def job(**more: object) -> Object:
    return {"jobs": {"a": DIGITS | more}}


def group(**more: object) -> Object:
    return {"workers": {"workers": more}}


def upgrade(**more: object) -> Object:
    return merged(INCREMENTAL, {"upgrade": {"cluster": more}})


V2: Object = {"autoscaling": {"enabled": True}}
