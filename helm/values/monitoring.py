"""manta-monitoring: Prometheus reads the clusters of a namespace, with rules and dashboards."""

from typing import Annotated, Literal

from pydantic import Field

from helm.values.section import Duration, Labels, Name, Values


class PodMonitors(Values):
    """What Prometheus reads: the metrics of heads and workers."""

    enabled: bool = True
    """Make PodMonitors."""
    interval: Duration = "15s"
    """How often."""
    labels: Labels = {"release": "kube-prometheus-stack"}
    """Labels that the operator of Prometheus looks for."""
    namespaces: list[Name] = []
    """Namespaces of the clusters; none is that of the release."""
    cluster_labels: Labels = {}
    """Labels of the pods to read; none is all that Ray runs."""


class Rules(Values):
    """Alerts."""

    enabled: bool = True
    """Make PrometheusRules of files/rules."""
    labels: Labels = {"release": "kube-prometheus-stack"}
    """Labels that the operator of Prometheus looks for."""
    runbooks: Annotated[str, Field(pattern=r"^[A-Za-z0-9:/._~%?=-]+$")] = "docs/runbooks.md"
    """Where docs/runbooks.md is read, in links of alerts: its address in your copy of the repository."""
    error_budget: Annotated[float, Field(gt=0, lt=1)] = 0.001
    """Share of the requests of a month that an endpoint may fail (5xx)."""
    slow_seconds: Literal["0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0"] = "0.5"
    """Time beyond which an answer is slow; one of the bounds that times are counted by."""
    slow_budget: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Share of the requests of a month that may be slow."""


class Dashboards(Values):
    """Dashboards of Grafana."""

    enabled: bool = True
    """Make ConfigMaps of files/dashboards."""
    labels: Labels = {"grafana_dashboard": "1"}
    """Labels that Grafana's sidecar looks for."""
    folder: str = "Manta"
    """Folder in Grafana."""


class MonitoringValues(Values):
    """Prometheus reads the clusters of a namespace, with rules and dashboards."""

    name_override: str = Field(default="", pattern=r"^([a-z]([-a-z0-9]{0,38}[a-z0-9])?)?$")
    """In place of the chart's name, in names and labels."""
    fullname_override: str = Field(default="", pattern=r"^([a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?)?$")
    """In place of release and chart, in names."""
    labels: Labels = {}
    """Labels of all objects."""
    assume_installed: bool = False
    """Render PodMonitors and rules even where the API server does not say that it knows them, as with
    `helm template`."""
    pod_monitors: PodMonitors = PodMonitors()
    rules: Rules = Rules()
    dashboards: Dashboards = Dashboards()
