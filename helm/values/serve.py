"""manta-serve: an endpoint."""

from typing import Annotated

from pydantic import Field

from helm.values.budget import DisruptionBudget, Tests
from helm.values.ray import RayValues
from helm.values.routes import HttpRoute, Ingress, ServiceOptions
from helm.values.section import Int32, OptionalSubdomain, Values
from lib.config.serving import ServeConfig


class Tokens(Values):
    """Tokens of the endpoint: who may ask it."""

    enabled: bool = True
    """Ask for a token."""
    secret_name: OptionalSubdomain = ""
    """Secret with one token a line; without a name one is made with one token."""
    key: str = Field(default="tokens", pattern=r"^[A-Za-z0-9._-]+$")
    """Key in the Secret."""


class ClusterUpgrade(Values):
    """NewClusterWithIncrementalUpgrade: how traffic moves to the new cluster."""

    gateway_class_name: OptionalSubdomain = ""
    """Class of the Gateway that splits the traffic."""
    step_size_percent: int = 10
    """Traffic that moves in a step."""
    interval_seconds: int = 30
    """Seconds between steps."""
    max_surge_percent: int = 100
    """Most capacity that the new cluster has beyond its traffic."""


class Upgrade(Values):
    """How a changed RayService is rolled out."""

    type: str = "NewCluster"
    """NewCluster (a second cluster, then a switch), NewClusterWithIncrementalUpgrade, or None."""
    cluster: ClusterUpgrade = ClusterUpgrade()


class Proxy(Values):
    """What stands in front of the replicas on each node."""

    haproxy: bool = True
    """HAProxy and Serve's throughput settings, several times faster than Serve's own proxy."""
    drain_seconds: Annotated[int, Field(ge=0, le=600)] = 15
    """A pod that ends is still asked for this long, until load balancers have heard of it."""


class ServeValues(RayValues):
    """An endpoint."""

    endpoint: ServeConfig = ServeConfig(bundle="runs/digits/bundle")
    """The words of `python -m serving`; http.host is not among them, for pods listen on all addresses."""
    tokens: Tokens = Tokens()
    high_availability: bool = False
    """Refuse what would not outlive the loss of a node: two replicas on nodes of their own, workers that must
    stay, and fault tolerance of the head."""
    one_replica_per_node: bool = False
    """Spread replicas: one on each node at most."""
    proxy: Proxy = Proxy()
    upgrade: Upgrade = Upgrade()
    service: ServiceOptions = ServiceOptions()
    ingress: Ingress = Ingress()
    http_route: HttpRoute = HttpRoute()
    pod_disruption_budget: DisruptionBudget = DisruptionBudget()
    service_unhealthy_seconds: Int32 = 900
    """Seconds of an unhealthy endpoint after which the operator starts a new cluster."""
    cluster_deletion_delay_seconds: Int32 = 60
    """Seconds that the old cluster stays after an upgrade."""
    suspend: bool = False
    """Take all pods away and keep the resource."""
    tests: Tests = Tests()
