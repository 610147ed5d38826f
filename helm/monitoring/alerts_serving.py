"""Alerts about an endpoint beside those on its budget: replicas, queue, model, versions."""

from helm.monitoring.burning import ASKING, ENDPOINT
from helm.monitoring.rule import RULED, Alert, Rule, grown

GATEWAY = 'deployment="Gateway"'
_WHO = "{{ $labels.namespace }}/{{ $labels.release }}"
_VERSION = "{{ $labels.version }} of " + _WHO


def serving_alerts() -> list[Rule]:
    """Return the alerts, the most urgent first."""
    return [*_replicas(), *_model(), *_versions()]


def _replicas() -> list[Rule]:
    status = f"min by ({ENDPOINT}) ({RULED.ray('ray_serve_deployment_status', GATEWAY)})"
    was = f"max by ({ENDPOINT}) (last_over_time({RULED.gauge('ready')}[15m]))"
    ready = f"sum by ({ENDPOINT}) ({RULED.gauge('ready')})"
    admitted, capacity = (f"sum by ({ENDPOINT}) ({RULED.gauge(name)})" for name in ("admitted", "capacity"))
    asked = f"sum by ({ENDPOINT}) (rate({RULED.total('requests', ASKING)}[5m]))"
    turned = f"""sum by ({ENDPOINT}) (rate({RULED.total("requests", ASKING, 'code="429"')}[5m]))"""
    return [
        Alert(
            "MantaEndpointDown",
            # None that keeps up; none, though there should be; or gone together with who would start them.
            f"(\n  {ready} == 0\n  or {status} < 6\n  or {was} > 0 unless ({status} or {ready})\n)\nunless "
            f"{ready} > 0",
            "critical",
            f"No replica of the endpoint {_WHO} is ready.",
            "None keeps up, none has come up, or the cluster is gone: every request fails or waits.",
            lasts="2m",
        ),
        Alert(
            "MantaQueueSaturated",
            f"{admitted}\n/ {capacity} > 0.9",
            "warning",
            f"The queues of the endpoint {_WHO} are {{{{ $value | humanizePercentage }}}} full.",
            "Requests wait as long as they may, and the next ones will be told 429. Add replicas, or find "
            "what is slow.",
            lasts="5m",
        ),
        Alert(
            "MantaRequestsTurnedAway",
            f"{turned}\n/ {asked} > 0.01",
            "warning",
            f"The endpoint {_WHO} turns away {{{{ $value | humanizePercentage }}}} of its requests (429).",
            "The queues of its replicas are full. Clients are told to come again; add replicas before they "
            "give up.",
            lasts="5m",
        ),
    ]


def _model() -> list[Rule]:
    by = f"{ENDPOINT}, version"
    seen = RULED.counts("confidence")
    now, day = (
        f"histogram_quantile(0.5, sum by ({by}, le) (rate({RULED.buckets('confidence')}[{window}])))"
        for window in ("15m", "1d")
    )
    return [
        Alert(
            "MantaGoldenCheckFailed",
            f"min by ({by}) ({RULED.gauge('golden_check')}) == 0",
            "critical",
            f"A replica of version {_VERSION} answers its golden image wrongly.",
            "What it computes is not what was measured, so its answers are worth nothing: take it out.",
        ),
        Alert(
            "MantaDrift",
            f"max by ({by}, of) ({RULED.gauge('drift')}) > 0.25",
            "warning",
            f"Pictures that version {_VERSION} sees are not those that it was measured with.",
            "The stability index of {{ $labels.of }} is {{ $value | humanize }}; above 0.25 the measured "
            "accuracy no "
            "longer holds. Look at pictures of today, and train with them.",
            lasts="15m",
        ),
        Alert(
            "MantaConfidenceCollapse",
            f"{now}\n< 0.7 * {day}\nand sum by ({by}) (increase({seen}[15m])) > 100",
            "warning",
            f"Version {_VERSION} is much less sure than it was during the last day.",
            "Half of its answers are below {{ $value | humanizePercentage }} now: other pictures, broken "
            "ones, or a "
            "client that prepares them wrongly.",
            lasts="10m",
        ),
    ]


def _versions() -> list[Rule]:
    by, canary, stable = f"{ENDPOINT}, version", 'role="canary"', 'role="stable"'

    def share(role: str, by: str) -> str:
        failed = RULED.total("version_requests", role, 'outcome=~"error|refused"')
        asked = RULED.total("version_requests", role)
        bad, all_of = (f"sum by ({by}) (rate({each}[10m]))" for each in (failed, asked))
        return f"({bad} or 0 * {all_of})\n  / {all_of}"

    def slowest(role: str, by: str) -> str:
        timed = RULED.buckets("version_request_seconds", role)
        return f"histogram_quantile(0.95, sum by ({by}, le) (rate({timed}[10m])))"

    given = f"sum by ({by}) (increase({RULED.total('version_requests', canary)}[10m]))"
    compared = RULED.total("version_comparisons", 'outcome=~"same|other"')
    other = RULED.total("version_comparisons", 'outcome="other"')
    beside = f"on ({ENDPOINT}) group_left ()"
    return [
        Alert(
            "MantaCanaryFails",
            f"{share(canary, by)}\n> {beside} (2 * {share(stable, ENDPOINT)} + 0.01)\nand {given} > 50",
            "warning",
            f"The canary {_VERSION} fails more often than the stable version.",
            "{{ $value | humanizePercentage }} of its requests fail; the stable version answers them. Take "
            "it out.",
            lasts="2m",
        ),
        Alert(
            "MantaCanarySlow",
            f"{slowest(canary, by)}\n> {beside} 1.5 * {slowest(stable, ENDPOINT)}\nand {given} > 50",
            "warning",
            f"The canary {_VERSION} is much slower than the stable version.",
            "95 % of its requests take up to {{ $value | humanizeDuration }}, more than 1.5 times the "
            "stable version's.",
            lasts="10m",
        ),
        Alert(
            "MantaCanaryDisagrees",
            f"sum by ({by}) (rate({other}[30m]))\n/ sum by ({by}) (rate({compared}[30m])) > 0.2\n"
            f"and sum by ({by}) (increase({compared}[30m])) > 50",
            "warning",
            f"The candidate {_VERSION} has another label than the stable version for many pictures.",
            "It has for {{ $value | humanizePercentage }} of them. Compare both with python "
            "jobs/evaluate.py.",
            lasts="5m",
        ),
        Alert(
            "MantaRolledBack",
            grown(RULED.total("version_rollbacks"), by, "30m"),
            "warning",
            f"The candidate {_VERSION} was taken out by the rule of rollback.",
            "The stable version answers all requests. What it failed with is in the logs of the replicas.",
        ),
        Alert(
            "MantaVersionRefused",
            grown(RULED.total("version_refusals"), ENDPOINT, "30m"),
            "warning",
            f"A replica of {_WHO} was told to serve a version that it cannot serve.",
            "It goes on with what it had. The reason is in the logs of the replicas.",
        ),
    ]
