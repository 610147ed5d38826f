"""Values that break the rules of RayServices and the endpoint."""

from tests.helm.broken import HA, INCREMENTAL, Case, group, upgrade
from tests.helm.charts import merged

RULES: dict[str, Case] = {
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
}
