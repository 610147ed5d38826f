"""manta-cluster: a Ray cluster to submit jobs to."""

from typing import Literal

from helm.values.budget import DisruptionBudget, Tests
from helm.values.ray import RayValues
from helm.values.routes import HttpRoute, Ingress


class ClusterValues(RayValues):
    """A Ray cluster to submit jobs to."""

    suspend: bool = False
    """Take all pods away and keep the resource."""
    upgrade_strategy: Literal["None", "Recreate"] = "None"
    """What a changed specification does to the pods; Recreate starts all of them again."""
    ingress: Ingress = Ingress()
    """The dashboard's; only with auth.enabled."""
    http_route: HttpRoute = HttpRoute()
    """The dashboard's; only with auth.enabled."""
    pod_disruption_budget: DisruptionBudget = DisruptionBudget()
    tests: Tests = Tests()
