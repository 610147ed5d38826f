"""The dashboard of endpoints: are answers right, in time, and by a model that still fits its pictures."""

from helm.monitoring.burning import ASKING, ENDPOINT
from helm.monitoring.panel import RATE, SHOWN, Board, Panel, Query, Row, Variable

_BY = f"by ({ENDPOINT})"
_VERSION = 'version=~"$version"'
_PERCENTILES = ((0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"))


def serving_board() -> Board:
    """Return the dashboard."""
    return Board(
        "manta-serving",
        "Manta / Serving",
        "Endpoints of python -m serving and of the chart manta-serve.",
        SHOWN.total("requests"),
        (Variable("version", "version", SHOWN.total("images")),),
        (_now(), _answers(), _latency(), _capacity(), _model(), _versions()),
    )


def _rate(name: str, by: str, *matchers: str) -> str:
    return f"sum {by} (rate({SHOWN.total(name, *matchers)}[{RATE}]))"


def _buckets(name: str, by: str, *matchers: str) -> str:
    return f"sum by ({by}) (rate({SHOWN.buckets(name, *matchers)}[{RATE}]))"


def _share_failed() -> str:
    failed, asked = _rate("requests", _BY, ASKING, 'code=~"5.."'), _rate("requests", _BY, ASKING)
    return f"({failed} or 0 * {asked}) / {asked}"


def _now() -> Row:
    slowest = f"histogram_quantile(0.99, {_buckets('request_seconds', f'{ENDPOINT}, le', ASKING)})"
    full = f"sum {_BY} ({SHOWN.gauge('admitted')}) / sum {_BY} ({SHOWN.gauge('capacity')})"
    return Row(
        "Now",
        (
            _stat(
                "Requests/s",
                "Requests to the model that are answered.",
                "reqps",
                _rate("requests", _BY, ASKING),
            ),
            _stat(
                "Errors",
                "Share of the requests that the endpoint failed (5xx).",
                "percentunit",
                _share_failed(),
            ),
            _stat("99 % within", "Time in which 99 % of the requests are answered.", "s", slowest),
            _stat(
                "Ready replicas",
                "Replicas whose model keeps up.",
                "none",
                f"sum {_BY} ({SHOWN.gauge('ready')})",
            ),
            _stat("Queue", "How full the queues of all replicas are.", "percentunit", full),
            _stat(
                "Drift",
                "Largest stability index; above 0.25 look at pictures.",
                "none",
                f"max {_BY} ({SHOWN.gauge('drift')})",
            ),
        ),
    )


def _stat(title: str, description: str, unit: str, expr: str) -> Panel:
    return Panel(title, description, unit, (Query(expr, "{{namespace}} {{release}}"),), kind="stat")


def _answers() -> Row:
    burnt = "manta:requests_failed:ratio_rate1h", "manta:requests_slow:ratio_rate1h"
    return Row(
        "Answers",
        (
            Panel(
                "Requests by code",
                "What clients are told. 4xx is theirs, 429 is a full queue, 5xx is ours.",
                "reqps",
                (Query(_rate("requests", "by (code)"), "{{code}}"),),
                stacked=True,
            ),
            Panel(
                "Requests by route",
                "What is asked.",
                "reqps",
                (Query(_rate("requests", "by (route)"), "{{route}}"),),
                stacked=True,
            ),
            Panel(
                "Failing and slow, of the last hour",
                "What the alerts on budgets look at.",
                "percentunit",
                tuple(
                    Query(f'{name}{{namespace=~"$namespace"}}', f"{{{{release}}}} {word}")
                    for name, word in zip(burnt, ("failing", "slow"), strict=True)
                ),
            ),
            Panel(
                "Images/s",
                "Images answered, by version.",
                "none",
                (Query(_rate("images", "by (version)", _VERSION), "{{version}}"),),
            ),
        ),
    )


def _latency() -> Row:
    whole, stage = _buckets("request_seconds", "le", ASKING), _buckets("stage_seconds", "stage, le")
    return Row(
        "Latency",
        (
            Panel(
                "Time of a request",
                "From the first byte to the answer.",
                "s",
                tuple(Query(f"histogram_quantile({share}, {whole})", name) for share, name in _PERCENTILES),
            ),
            Panel(
                "Times of requests", "How many take how long.", "s", (Query(whole, "{{le}}"),), kind="heatmap"
            ),
            Panel(
                "Slowest tenth by stage",
                "Where the time goes, at the 90th percentile: queue means too few replicas, forward a slow "
                "network, "
                "decode large pictures.",
                "s",
                (Query(f"histogram_quantile(0.9, {stage})", "{{stage}}"),),
            ),
        ),
    )


def _capacity() -> Row:
    batch = _buckets("batch_size", "le")
    wanted, healthy = (
        f"max by (deployment) ({SHOWN.ray(f'ray_serve_{name}')})"
        for name in ("autoscaling_desired_replicas", "deployment_replica_healthy")
    )
    return Row(
        "Capacity",
        (
            Panel(
                "Replicas",
                "Wanted by the autoscaler, healthy for Ray Serve, reporting, and ready by their own word.",
                "none",
                (
                    Query(wanted, "wanted {{deployment}}"),
                    Query(healthy, "healthy {{deployment}}"),
                    Query(f"sum({SHOWN.gauge('replicas')})", "reporting"),
                    Query(f"sum({SHOWN.gauge('ready')})", "ready"),
                ),
            ),
            Panel(
                "Admitted and places",
                "Requests in replicas, and how many they admit. Where both meet, the next is told 429.",
                "none",
                (
                    Query(f"sum({SHOWN.gauge('admitted')})", "admitted"),
                    Query(f"sum({SHOWN.gauge('capacity')})", "places"),
                ),
            ),
            Panel(
                "Images of a forward pass",
                "Are batches filled?",
                "none",
                tuple(Query(f"histogram_quantile({share}, {batch})", name) for share, name in _PERCENTILES),
            ),
        ),
    )


def _model() -> Row:
    by_members = _rate("images_by_members", "by (version, members)", _VERSION)
    all_images = _rate("images_by_members", "by (version)", _VERSION)
    spent, full = (_rate("cost_seconds", "by (version)", _VERSION, f'of="{of}"') for of in ("spent", "full"))
    sure = _buckets("confidence", "version, le", _VERSION)
    by_label, labels = (_rate("predicted", f"by ({by})", _VERSION) for by in ("version, label", "version"))
    drift = f"max by (version, of) ({SHOWN.gauge('drift', _VERSION)})"
    golden = f"min by (version) ({SHOWN.gauge('golden_check', _VERSION)})"
    return Row(
        "Model",
        (
            Panel(
                "Drift",
                "Population stability index of confidence and of classes against validation: below 0.1 "
                "nothing, above "
                "0.25 the measured accuracy no longer holds.",
                "none",
                (Query(drift, "{{version}} {{of}}"),),
            ),
            Panel(
                "Confidence",
                "Probability of the first prediction: median and lowest tenth.",
                "percentunit",
                tuple(
                    Query(f"histogram_quantile({share}, {sure})", f"{{{{version}}}} {name}")
                    for share, name in ((0.5, "median"), (0.1, "lowest tenth"))
                ),
                highest=1,
            ),
            Panel(
                "Confidences",
                "How many answers are how sure.",
                "percentunit",
                (Query(_buckets("confidence", "le", _VERSION), "{{le}}"),),
                kind="heatmap",
            ),
            Panel(
                "Predicted classes",
                "The ten most frequent first predictions, as shares.",
                "percentunit",
                (Query(f"topk(10, {by_label} / on (version) group_left {labels})", "{{version}} {{label}}"),),
            ),
            Panel(
                "Members asked",
                "Where the cascade stops: share of the images by how many members were asked.",
                "percentunit",
                (Query(f"{by_members} / on (version) group_left {all_images}", "{{version}} {{members}}"),),
                stacked=True,
                highest=1,
            ),
            Panel(
                "Cost saved",
                "Share of the compute of the full ensemble that the cascade saves.",
                "percentunit",
                (Query(f"1 - {spent} / {full}", "{{version}}"),),
            ),
            Panel(
                "Golden check",
                "1 while the golden images come out as they were exported.",
                "none",
                (Query(golden, "{{version}}"),),
                highest=1,
            ),
        ),
    )


def _versions() -> Row:
    by = "by (version, role)"
    failed = _rate("version_requests", by, _VERSION, 'outcome=~"error|refused"')
    asked = _rate("version_requests", by, _VERSION)
    timed = _buckets("version_request_seconds", "version, role, le", _VERSION)
    other = _rate("version_comparisons", "by (version)", _VERSION, 'outcome="other"')
    compared = _rate("version_comparisons", "by (version)", _VERSION, 'outcome=~"same|other"')
    share = f"max by (version, role) ({SHOWN.gauge('version_share', _VERSION)})"
    refused = f"sum({SHOWN.total('version_refusals')})"
    rolled = f"sum by (version) ({SHOWN.total('version_rollbacks', _VERSION)})"
    return Row(
        "Canary and stable",
        (
            Panel(
                "Requests by version",
                "Who answers how many.",
                "reqps",
                (Query(asked, "{{version}} {{role}}"),),
                stacked=True,
            ),
            Panel(
                "Failing by version",
                "Share of its requests that a version fails, by its own fault.",
                "percentunit",
                (Query(f"({failed} or 0 * {asked}) / {asked}", "{{version}} {{role}}"),),
            ),
            Panel(
                "Slowest twentieth by version",
                "95th percentile from the decoded picture to the probabilities.",
                "s",
                (Query(f"histogram_quantile(0.95, {timed})", "{{version}} {{role}}"),),
            ),
            Panel(
                "Another label than the stable version",
                "Share of the compared requests.",
                "percentunit",
                (Query(f"({other} or 0 * {compared}) / {compared}", "{{version}}"),),
            ),
            Panel(
                "Share of the requests",
                "What versions are meant to see.",
                "percentunit",
                (Query(share, "{{version}} {{role}}"),),
                highest=1,
            ),
            Panel(
                "Taken out and refused",
                "Candidates taken out by the rule of rollback, and versions that could not be served, of "
                "all replicas.",
                "none",
                (Query(rolled, "{{version}} taken out"), Query(refused, "refused")),
            ),
        ),
    )
