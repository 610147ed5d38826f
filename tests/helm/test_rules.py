"""Every rule of KubeRay's operator: values that break it, and the sentence that refuses them."""

import helm_python
import pytest

from tests.helm.charts import Charts, Object, merged

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


# chart, values, path=given, and what is allowed
Case = tuple[str, Object, str, str]
V2 = {"autoscaling": {"enabled": True}}
RULES: dict[str, Case] = {
    # The autoscaler
    "min above max": (
        "manta-cluster",
        merged(V2, group(minReplicas=5, maxReplicas=2)),
        "workers.workers.minReplicas=5",
        "may not be above maxReplicas, and they are 5 and 2",
    ),
    "replicas above max": (
        "manta-cluster",
        merged(V2, group(replicas=3, maxReplicas=2)),
        "workers.workers.maxReplicas=2",
        "may not be above maxReplicas",
    ),
    "replicas below min": (
        "manta-cluster",
        merged(V2, group(replicas=1, minReplicas=2, maxReplicas=4)),
        "workers.workers.replicas=1",
        "must be from minReplicas 2 to maxReplicas 4",
    ),
    "max without autoscaler": (
        "manta-cluster",
        group(replicas=1, maxReplicas=4),
        "workers.workers.maxReplicas=4",
        "without autoscaling.enabled=true",
    ),
    "autoscaler version": (
        "manta-cluster",
        {"autoscaling": {"version": "v3"}},
        "autoscaling.version=v3",
        "must be v2 or v1",
    ),
    "v2 and the head's restart policy": (
        "manta-cluster",
        merged(V2, {"head": {"restartPolicy": "Always"}}),
        "head.restartPolicy=Always",
        "autoscaling.version=v2 needs Never",
    ),
    "v2 and a worker's restart policy": (
        "manta-serve",
        merged(V2, group(restartPolicy="Always")),
        "workers.workers.restartPolicy=Always",
        "autoscaling.version=v2 needs Never",
    ),
    "unknown restart policy": (
        "manta-cluster",
        group(restartPolicy="OnFailure"),
        "workers.workers.restartPolicy=OnFailure",
        "must be Never or Always",
    ),
    "idle timeout without v2": (
        "manta-cluster",
        {"autoscaling": {"enabled": True, "version": "v1"}, **group(idleTimeoutSeconds=9)},
        "workers.workers.idleTimeoutSeconds=9",
        "needs autoscaling.enabled=true and autoscaling.version=v2",
    ),
    "idle timeout without autoscaler": (
        "manta-cluster",
        group(idleTimeoutSeconds=0),
        "workers.workers.idleTimeoutSeconds=0",
        "needs autoscaling.enabled=true",
    ),
    "priority without v2": (
        "manta-cluster",
        group(priority=1),
        "workers.workers.priority=1",
        "needs autoscaling.enabled=true and autoscaling.version=v2",
    ),
    "priority and an older Ray": (
        "manta-cluster",
        merged(V2, group(priority=1), {"rayVersion": "2.55.1"}),
        "workers.workers.priority=1",
        'needs rayVersion 2.56.0 or later, and it is "2.55.1"',
    ),
    "v2 by a variable": (
        "manta-cluster",
        {"env": {"RAY_enable_autoscaler_v2": "1"}},
        "env.RAY_enable_autoscaler_v2=1",
        "use autoscaling.enabled and autoscaling.version",
    ),
    # Tokens
    "token without a version": (
        "manta-cluster",
        {"rayVersion": ""},
        "rayVersion=:",
        "needs the version of Ray",
    ),
    "token and an older Ray": (
        "manta-jobs",
        {"rayVersion": "2.51.9", **job()},
        "rayVersion=2.51.9",
        "needs Ray 2.52.0 or later",
    ),
    "token of Kubernetes and an older Ray": (
        "manta-cluster",
        {"auth": {"kubernetes": True}, "rayVersion": "2.54.0"},
        "rayVersion=2.54.0",
        "auth.kubernetes needs Ray 2.55.0 or later",
    ),
    "token of Kubernetes without tokens": (
        "manta-cluster",
        {"auth": {"kubernetes": True, "enabled": False}},
        "auth.kubernetes=true",
        "needs auth.enabled=true",
    ),
    "token of Kubernetes and a Secret": (
        "manta-cluster",
        {"auth": {"kubernetes": True, "secretName": "x"}},
        "auth.secretName=x",
        "has no effect with auth.kubernetes=true",
    ),
    "token of Kubernetes in a RayJob": (
        "manta-jobs",
        {"auth": {"kubernetes": True}},
        "auth.kubernetes=true",
        "a RayJob takes a token of Ray's own",
    ),
    "token of Kubernetes in a RayService": (
        "manta-serve",
        {"auth": {"kubernetes": True}},
        "auth.kubernetes=true",
        "a RayService takes a token of Ray's own",
    ),
    "dashboard for everybody": (
        "manta-cluster",
        {"auth": {"enabled": False}, "ingress": {"enabled": True}},
        "auth.enabled=false",
        "whoever reaches the dashboard may run code",
    ),
    # Fault tolerance
    "backend": (
        "manta-cluster",
        {"gcs": {"backend": "etcd"}},
        "gcs.backend=etcd",
        "must be none, redis or rocksdb",
    ),
    "redis without an address": (
        "manta-cluster",
        {"gcs": {"backend": "redis"}},
        "gcs.redis.address=:",
        "needs an address",
    ),
    "redis by a variable": (
        "manta-cluster",
        {"env": {"RAY_REDIS_ADDRESS": "redis:6379"}},
        "env.RAY_REDIS_ADDRESS=redis:6379",
        "use gcs.redis",
    ),
    "redis by a variable of the head": (
        "manta-serve",
        {"head": {"env": {"REDIS_PASSWORD": "s3cret"}}},
        "env.REDIS_PASSWORD=…",
        "use gcs.redis",
    ),
    "redis by a flag": (
        "manta-cluster",
        {"head": {"rayStartParams": {"redis-password": "s3cret"}}},
        "head.rayStartParams.redis-password=…",
        "use gcs.redis.username and gcs.redis.password",
    ),
    "fault tolerance by an annotation": (
        "manta-cluster",
        {"annotations": {"ray.io/ft-enabled": "true"}},
        "annotations.ray.io/ft-enabled=true",
        "use gcs.backend",
    ),
    "namespace by an annotation": (
        "manta-cluster",
        {"annotations": {"ray.io/external-storage-namespace": "x"}},
        "annotations.ray.io/external-storage-namespace=x",
        "gcs.redis.namespace",
    ),
    "rocksdb and redis": (
        "manta-cluster",
        {"gcs": {"backend": "rocksdb", "redis": {"address": "redis:6379"}}},
        "gcs.redis.address=redis:6379",
        "has no place with gcs.backend=rocksdb",
    ),
    "redis and a claim": (
        "manta-cluster",
        {"gcs": {"backend": "redis", "redis": {"address": "r:1"}, "rocksdb": {"size": "1Gi"}}},
        "gcs.rocksdb.size=1Gi",
        "has no place with gcs.backend=redis",
    ),
    "rocksdb with claim and size": (
        "manta-cluster",
        {"gcs": {"backend": "rocksdb", "rocksdb": {"claimName": "gcs", "size": "1Gi"}}},
        "gcs.rocksdb.claimName=gcs",
        "not both",
    ),
    "rocksdb with claim and class": (
        "manta-cluster",
        {"gcs": {"backend": "rocksdb", "rocksdb": {"claimName": "gcs", "storageClassName": "ssd"}}},
        "gcs.rocksdb.claimName=gcs",
        "not both",
    ),
    "rocksdb by a variable": (
        "manta-cluster",
        {"env": {"RAY_GCS_STORAGE": "rocksdb"}},
        "env.RAY_GCS_STORAGE=rocksdb",
        "gcs.rocksdb",
    ),
    # Resources and labels of a group
    "resources twice in the head": (
        "manta-cluster",
        {"head": {"rayResources": {"CPU": "2"}}},
        "head.rayResources=",
        "rayStartParams has num-cpus already",
    ),
    "resources twice in a group": (
        "manta-cluster",
        group(rayResources={"CPU": "2"}, rayStartParams={"num-gpus": "1"}),
        'workers.workers.rayResources={"CPU":"2"}',
        "rayStartParams has num-gpus already",
    ),
    "resources twice in a job": (
        "manta-jobs",
        job(workers={"w": {"rayResources": {"CPU": "2"}, "rayStartParams": {"memory": "1"}}}),
        "jobs.a.workers.w.rayResources=",
        "rayStartParams has memory already",
    ),
    "labels by a flag": (
        "manta-cluster",
        group(rayStartParams={"labels": "a=b"}),
        "workers.workers.rayStartParams.labels=a=b",
        "use workers.workers.rayLabels",
    ),
    # RayJob
    "seconds without shutdown": (
        "manta-jobs",
        job(shutdownAfterJobFinishes=False, ttlSecondsAfterFinished=60),
        "jobs.a.ttlSecondsAfterFinished=60",
        "needs shutdownAfterJobFinishes=true",
    ),
    "rules beside shutdown": (
        "manta-jobs",
        job(
            shutdownAfterJobFinishes=True,
            deletionRules=[{"policy": "DeleteCluster", "jobStatus": "SUCCEEDED"}],
        ),
        "jobs.a.deletionRules=",
        "takes the place of shutdownAfterJobFinishes",
    ),
    "rules beside seconds": (
        "manta-jobs",
        job(ttlSecondsAfterFinished=5, deletionRules=[{"policy": "DeleteCluster", "jobStatus": "SUCCEEDED"}]),
        "jobs.a.ttlSecondsAfterFinished=5",
        "ttlSeconds of their own",
    ),
    "workers deleted under the autoscaler": (
        "manta-jobs",
        merged(V2, job(deletionRules=[{"policy": "DeleteWorkers", "jobStatus": "FAILED"}])),
        "jobs.a.deletionRules=DeleteWorkers",
        "does not go with autoscaling.enabled=true",
    ),
    "a cluster deleted that is not its own": (
        "manta-jobs",
        job(**SELECTOR, deletionRules=[{"policy": "DeleteCluster", "jobStatus": "FAILED"}]),
        "jobs.a.deletionRules=DeleteCluster",
        "not the job's own",
    ),
    "a rule twice": (
        "manta-jobs",
        job(deletionRules=[{"policy": "DeleteSelf", "jobStatus": "FAILED"}] * 2),
        "jobs.a.deletionRules=DeleteSelf",
        "is there twice for FAILED",
    ),
    "workers deleted after their cluster": (
        "manta-jobs",
        job(
            deletionRules=[
                {"policy": "DeleteWorkers", "jobStatus": "FAILED", "ttlSeconds": 9},
                {"policy": "DeleteCluster", "jobStatus": "FAILED", "ttlSeconds": 1},
            ]
        ),
        "jobs.a.deletionRules=DeleteWorkers after 9 s, DeleteCluster after 1 s",
        "workers go first",
    ),
    "retries on a cluster that runs": (
        "manta-jobs",
        job(**SELECTOR, backoffLimit=2),
        "jobs.a.backoffLimit=2",
        "does not go with clusterSelector",
    ),
    "retries of an interactive job": (
        "manta-jobs",
        job(submissionMode="InteractiveMode", backoffLimit=2),
        "jobs.a.backoffLimit=2",
        "does not go with submissionMode=InteractiveMode",
    ),
    "suspended without shutdown": (
        "manta-jobs",
        job(suspend=True, shutdownAfterJobFinishes=False),
        "jobs.a.suspend=true",
        "needs shutdownAfterJobFinishes=true",
    ),
    "suspended on a cluster that runs": (
        "manta-jobs",
        job(**SELECTOR, suspend=True),
        "jobs.a.suspend=true",
        "does not go with clusterSelector",
    ),
    "sidecar and a submitter": (
        "manta-jobs",
        job(submissionMode="SidecarMode", submitter={"backoffLimit": 1}),
        "jobs.a.submitter=",
        "submissionMode=SidecarMode has no submitter pod",
    ),
    "sidecar on a cluster that runs": (
        "manta-jobs",
        job(**SELECTOR, submissionMode="SidecarMode"),
        "jobs.a.clusterSelector=",
        "does not go with submissionMode=SidecarMode",
    ),
    "sidecar and the head's restart policy": (
        "manta-jobs",
        job(submissionMode="SidecarMode", head={"restartPolicy": "Always"}),
        "jobs.a.head.restartPolicy=Always",
        "SidecarMode needs Never",
    ),
    "unknown mode": (
        "manta-jobs",
        job(submissionMode="Batch"),
        "jobs.a.submissionMode=Batch",
        "must be K8sJobMode",
    ),
    "selector without a cluster": (
        "manta-jobs",
        job(clusterSelector={"team": "a"}),
        "jobs.a.clusterSelector=",
        "needs the name of a cluster",
    ),
    "jobs that share a head's Service": (
        "manta-jobs",
        {"head": {"serviceName": "x"}, **job()},
        "head.serviceName=x",
        "heads of their own",
    ),
    # RayCronJob
    "time zone in the schedule": (
        "manta-jobs",
        job(schedule="CRON_TZ=Asia/Tokyo 0 3 * * *"),
        "jobs.a.schedule=CRON_TZ=Asia/Tokyo 0 3 * * *",
        "use jobs.a.timeZone",
    ),
    "no schedule": (
        "manta-jobs",
        job(schedule="tomorrow"),
        "jobs.a.schedule=tomorrow",
        "must be five fields",
    ),
    "unknown time zone": (
        "manta-jobs",
        job(schedule="@daily", timeZone="Europe/Atlantis"),
        "jobs.a.timeZone=Europe/Atlantis",
        "must be a time zone of the IANA",
    ),
    "time zone without a schedule": (
        "manta-jobs",
        job(timeZone="Europe/Berlin"),
        "jobs.a.timeZone=Europe/Berlin",
        "needs a schedule",
    ),
    # RayService
    "name of the head's Service": (
        "manta-serve",
        {"head": {"serviceName": "mine"}},
        "head.serviceName=mine",
        "names the head's Service itself",
    ),
    "type of the upgrade": (
        "manta-serve",
        {"upgrade": {"type": "Recreate"}},
        "upgrade.type=Recreate",
        "must be NewCluster, NewClusterWithIncrementalUpgrade or None",
    ),
    "incremental without autoscaler": (
        "manta-serve",
        merged(INCREMENTAL, {"autoscaling": {"enabled": False}}),
        "upgrade.type=NewClusterWithIncrementalUpgrade",
        "needs autoscaling.enabled=true",
    ),
    "incremental without a class": (
        "manta-serve",
        upgrade(gatewayClassName=""),
        "upgrade.cluster.gatewayClassName=:",
        "needs the class of a Gateway",
    ),
    "step above surge": (
        "manta-serve",
        upgrade(stepSizePercent=60, maxSurgePercent=50),
        "upgrade.cluster.stepSizePercent=60",
        "must be at most upgrade.cluster.maxSurgePercent, 50",
    ),
    "step above 100": (
        "manta-serve",
        upgrade(stepSizePercent=101),
        "upgrade.cluster.stepSizePercent=101",
        "from 0 to 100",
    ),
    "surge below 0": (
        "manta-serve",
        upgrade(maxSurgePercent=-1),
        "upgrade.cluster.maxSurgePercent=-1",
        "from 0 to 100",
    ),
    "no interval": (
        "manta-serve",
        upgrade(intervalSeconds=0),
        "upgrade.cluster.intervalSeconds=0",
        "must be above 0",
    ),
    "a route beside the operator's": (
        "manta-serve",
        merged(INCREMENTAL, {"ingress": {"enabled": True}, "networkPolicy": {"enabled": False}}),
        "ingress.enabled=true",
        "the operator makes Gateway and HTTPRoute itself",
    ),
    # The endpoint
    "replicas": (
        "manta-serve",
        {"endpoint": {"serve": {"min_replicas": 3, "max_replicas": 2}}},
        "endpoint.serve.min_replicas=3",
        "is above endpoint.serve.max_replicas, 2",
    ),
    "no bundle": ("manta-serve", {"endpoint": {"bundle": ""}}, "endpoint.bundle=:", "name a bundle"),
    "host": (
        "manta-serve",
        {"endpoint": {"http": {"host": "127.0.0.1"}}},
        "endpoint.http.host=127.0.0.1",
        "leave it out",
    ),
    "one port twice": (
        "manta-serve",
        {"endpoint": {"grpc": {"port": 8000}}},
        "endpoint.grpc.port=8000",
        "is endpoint.http.port too",
    ),
    "a port of Ray": (
        "manta-serve",
        {"endpoint": {"http": {"port": 8265}}},
        "endpoint.http.port=8265",
        "Ray has the ports",
    ),
    "gRPC without tokens": (
        "manta-serve",
        {"endpoint": {"grpc": {"port": 8001}}, "tokens": {"enabled": False}},
        "tokens.enabled=false",
        "without tokens replicas refuse gRPC",
    ),
    "a file of tokens": (
        "manta-serve",
        {"endpoint": {"auth": {"token_file": "/x"}}},
        "endpoint.auth.token_file=/x",
        "use tokens.secretName",
    ),
    "a GPU that no worker has": (
        "manta-serve",
        {"endpoint": {"serve": {"use_gpu": True}}},
        "endpoint.serve.use_gpu=true",
        "no group of workers has resources.gpu",
    ),
    "an end before draining": (
        "manta-serve",
        group(terminationGracePeriodSeconds=30),
        "workers.workers.terminationGracePeriodSeconds=30",
        "must be at least 60",
    ),
    "ha without fault tolerance": (
        "manta-serve",
        merged(HA, {"gcs": {"backend": "none", "redis": {"address": ""}}}),
        "gcs.backend=none",
        "all replicas end with the head",
    ),
    "ha with one replica": (
        "manta-serve",
        merged(HA, {"endpoint": {"serve": {"min_replicas": 1}}}),
        "endpoint.serve.min_replicas=1",
        "needs 2 or more",
    ),
    "ha on one node": (
        "manta-serve",
        merged(HA, {"oneReplicaPerNode": False}),
        "oneReplicaPerNode=false",
        "nodes of their own",
    ),
    "ha without a budget": (
        "manta-serve",
        merged(HA, {"podDisruptionBudget": {"minAvailableWorkers": 0}}),
        "podDisruptionBudget.minAvailableWorkers=0",
        "needs a budget",
    ),
    "more replicas than nodes": (
        "manta-serve",
        merged(HA, {"endpoint": {"serve": {"max_replicas": 5}}}),
        "endpoint.serve.max_replicas=5",
        "leaves room for 2",
    ),
    "a budget that stops every drain": (
        "manta-cluster",
        {"podDisruptionBudget": {"minAvailableWorkers": 1}},
        "podDisruptionBudget.minAvailableWorkers=1",
        "no node could ever be drained",
    ),
    # What the charts add
    "a route that nobody may take": (
        "manta-serve",
        {"ingress": {"enabled": True}},
        "ingress.enabled=true",
        "networkPolicy.clients lets nobody in",
    ),
    "a route without a Gateway": (
        "manta-serve",
        {"httpRoute": {"enabled": True}, "networkPolicy": {"enabled": False}},
        "httpRoute.parentRefs=[]",
        "name the Gateway",
    ),
    "two claims": (
        "manta-cluster",
        {"storage": {"claim": "data", "size": "1Gi"}},
        "storage.claim=data",
        "not both",
    ),
    "a head for a cluster that runs": (
        "manta-jobs",
        job(**SELECTOR, head={"resources": {"cpu": "4"}}),
        "jobs.a.head=",
        "has no effect with clusterSelector",
    ),
    "a submitter of nobody": (
        "manta-jobs",
        job(submissionMode="HTTPMode", submitter={"backoffLimit": 1}),
        "jobs.a.submitter=",
        "HTTPMode has no submitter pod",
    ),
    "a Gateway without steps": (
        "manta-serve",
        {"upgrade": {"cluster": {"gatewayClassName": "istio"}}},
        "upgrade.cluster.gatewayClassName=istio",
        "needs upgrade.type=NewClusterWithIncrementalUpgrade",
    ),
    "a Secret of no tokens": (
        "manta-serve",
        {"tokens": {"enabled": False, "secretName": "x"}},
        "tokens.secretName=x",
        "needs tokens.enabled=true",
    ),
    "networks of no policy": (
        "manta-cluster",
        {"networkPolicy": {"egress": {"cidrs": ["10.0.0.0/8"]}}},
        'networkPolicy.egress.cidrs=["10.0.0.0/8"]',
        "needs networkPolicy.egress.enabled=true",
    ),
    "clients of no policy": (
        "manta-cluster",
        {"networkPolicy": {"enabled": False, "clients": [{"podLabels": {"app": "shop"}}]}},
        "networkPolicy.clients=",
        "needs networkPolicy.enabled=true",
    ),
    "a value that a toleration ignores": (
        "manta-cluster",
        group(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
        "workers.workers.tolerations=",
        "a value needs a key, and operator Equal",
    ),
    "seconds that a toleration ignores": (
        "manta-cluster",
        {"head": {"tolerations": [{"key": "a", "tolerationSeconds": 5}]}},
        "head.tolerations=",
        "tolerationSeconds needs effect NoExecute",
    ),
    "a class of no claim": (
        "manta-cluster",
        {"storage": {"storageClassName": "nfs"}},
        "storage.storageClassName=nfs",
        "needs storage.size",
    ),
    "a volume of two kinds": (
        "manta-cluster",
        {"head": {"volumes": {"x": {"mountPath": "/x", "secret": "a", "claim": "b"}}}},
        "volumes.x=secret, claim",
        "one of secret, configMap, claim, emptyDir",
    ),
    "kueue without a queue": (
        "manta-cluster",
        {"scheduling": {"scheduler": "kueue"}},
        "scheduling.queue=:",
        "needs the name of a LocalQueue",
    ),
    "kueue and the autoscaler": (
        "manta-cluster",
        merged(V2, {"scheduling": {"scheduler": "kueue", "queue": "q"}}),
        "autoscaling.enabled=true",
        "kueue admits clusters of a fixed size",
    ),
    "kueue and a cluster that stays": (
        "manta-jobs",
        {"scheduling": {"scheduler": "kueue", "queue": "q"}, **job(shutdownAfterJobFinishes=False)},
        "jobs.a.shutdownAfterJobFinishes=false",
        "kueue takes jobs that bring a cluster and remove it",
    ),
    "gang without volcano": (
        "manta-cluster",
        {"scheduling": {"gang": True}},
        "scheduling.gang=true",
        "needs scheduling.scheduler=volcano",
    ),
    "a queue of nobody": (
        "manta-cluster",
        {"scheduling": {"queue": "q"}},
        "scheduling.queue=q",
        "needs scheduling.scheduler=kueue or volcano",
    ),
    "a priority of nobody": (
        "manta-cluster",
        {"scheduling": {"priorityClassName": "high"}},
        "scheduling.priorityClassName=high",
        "needs scheduling.scheduler=kueue or volcano",
    ),
}


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
    assert charts.render(chart, values)


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
