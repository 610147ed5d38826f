"""manta-monitoring: Prometheus reads the clusters of a namespace, with rules and dashboards."""

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
