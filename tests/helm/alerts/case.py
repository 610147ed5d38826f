"""A case of an alert: series, as `promtool test rules` notes them, and whether it fires."""

from dataclasses import dataclass

ENDPOINT = 'namespace="team",release="digits"'
RUN = 'namespace="team",run="digits"'
NODE = 'namespace="team",ray_io_cluster="digits",instance="10.0.0.1:8080"'


@dataclass(frozen=True)
class Case:
    """What is seen, and what the alert says to it at a time."""

    alert: str
    about: str
    series: dict[str, str]
    at: str
    fires: str = ""
    """Labels of the alert that fires, but its name and severity; none if it is quiet."""
    step: str = "1m"
    """How far values of the series are apart, and how often rules are looked at."""
