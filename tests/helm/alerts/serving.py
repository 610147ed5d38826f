"""Endpoints: budgets, replicas, queue, the model, versions."""

from tests.helm.alerts.case import ENDPOINT, Case

_ROUTE = f'{ENDPOINT},route="/predict"'
_OK, _FAILED, _FULL = (f'ray_manta_requests_total{{{_ROUTE},code="{code}"}}' for code in (200, 500, 429))
_TIMED = f"ray_manta_request_seconds_count{{{_ROUTE}}}"
_FAST = f'ray_manta_request_seconds_bucket{{{_ROUTE},le="0.5"}}'
_STATUS = f'ray_serve_deployment_status{{{ENDPOINT},deployment="Gateway"}}'
_ADMITTED, _CAPACITY = (f"ray_manta_{name}{{{ENDPOINT}}}" for name in ("admitted", "capacity"))
_VERSION = f'{ENDPOINT},version="3f9c"'
_CONFIDENCES = f"ray_manta_confidence_count{{{_VERSION}}}"


def _ready(replica: str) -> str:
    return f'ray_manta_ready{{{ENDPOINT},WorkerId="{replica}"}}'


def _confidence(bound: str) -> str:
    return f'ray_manta_confidence_bucket{{{_VERSION},le="{bound}"}}'


def _asked(version: str, role: str, outcome: str) -> str:
    labels = f'{ENDPOINT},version="{version}",role="{role}",outcome="{outcome}"'
    return f"ray_manta_version_requests_total{{{labels}}}"


def _timed(version: str, role: str, bound: str) -> str:
    labels = f'{ENDPOINT},version="{version}",role="{role}",le="{bound}"'
    return f"ray_manta_version_request_seconds_bucket{{{labels}}}"


def _compared(outcome: str) -> str:
    return f'ray_manta_version_comparisons_total{{{ENDPOINT},version="new",outcome="{outcome}"}}'


_BUDGETS = [
    Case(
        "MantaErrorsBurnFast",
        "3 % fail for an hour",
        {_OK: "0+1940x35", _FAILED: "0+60x35"},
        "65m",
        ENDPOINT,
        "2m",
    ),
    Case(
        "MantaErrorsBurnFast",
        "0.5 % fail: 5 times the budget",
        {_OK: "0+1990x35", _FAILED: "0+10x35"},
        "65m",
    ),
    Case(
        "MantaErrorsBurnFast",
        "0.8 % fail for six hours",
        {_OK: "0+4960x80", _FAILED: "0+40x80"},
        "375m",
        ENDPOINT,
        "5m",
    ),
    Case(
        "MantaErrorsBurnFast", "it is over", {_OK: "0+1940x60", _FAILED: "0+60x35 2100x25"}, "110m", step="2m"
    ),
    Case(
        "MantaErrorsBurnFast",
        "a few of a few requests",
        {_OK: "0+2x35", _FAILED: "0x30 4x5"},
        "65m",
        step="2m",
    ),
    Case(
        "MantaErrorsBurnFast",
        "refusals are the client's",
        {_OK: "0+1940x35", _FULL: "0+60x35"},
        "65m",
        step="2m",
    ),
    Case(
        "MantaErrorsBurnSlow",
        "0.2 % fail for three days",
        {_OK: "0+998x150", _FAILED: "0+2x150"},
        "73h",
        ENDPOINT,
        "30m",
    ),
    Case("MantaErrorsBurnSlow", "0.05 % fail", {_OK: "0+1999x150", _FAILED: "0+1x150"}, "73h", step="30m"),
    Case(
        "MantaLatencyBurnFast",
        "a fifth is slow",
        {_TIMED: "0+200x35", _FAST: "0+160x35"},
        "65m",
        ENDPOINT,
        "2m",
    ),
    Case("MantaLatencyBurnFast", "5 % are slow", {_TIMED: "0+200x35", _FAST: "0+190x35"}, "65m", step="2m"),
    Case(
        "MantaLatencyBurnSlow",
        "2 % are slow",
        {_TIMED: "0+100x150", _FAST: "0+98x150"},
        "73h",
        ENDPOINT,
        "30m",
    ),
    Case(
        "MantaLatencyBurnSlow", "0.5 % are slow", {_TIMED: "0+200x150", _FAST: "0+199x150"}, "73h", step="30m"
    ),
]

_REPLICAS = [
    Case(
        "MantaEndpointDown",
        "all are stuck",
        {_ready("a"): "1x5 0x10", _STATUS: "6x15"},
        "10m",
        ENDPOINT,
    ),
    Case("MantaEndpointDown", "none has come up", {_STATUS: "3x10"}, "5m", ENDPOINT),
    Case(
        "MantaEndpointDown",
        "the cluster is gone",
        {_ready("a"): "1x5 stale", _STATUS: "6x5 stale"},
        "10m",
        ENDPOINT,
    ),
    Case(
        "MantaEndpointDown",
        "one of two is stuck",
        {_ready("a"): "0x15", _ready("b"): "1x15", _STATUS: "2x15"},
        "10m",
    ),
    Case("MantaEndpointDown", "it rests at zero", {_ready("a"): "1x5 stale", _STATUS: "6x15"}, "10m"),
    Case(
        "MantaQueueSaturated",
        "both replicas are full",
        {_ADMITTED: "0 95x15", _CAPACITY: "100x15"},
        "10m",
        ENDPOINT,
    ),
    Case("MantaQueueSaturated", "for a moment", {_ADMITTED: "0 95x3 10x15", _CAPACITY: "100x15"}, "10m"),
    Case("MantaRequestsTurnedAway", "2 % are told 429", {_OK: "0+98x15", _FULL: "0+2x15"}, "12m", ENDPOINT),
    Case("MantaRequestsTurnedAway", "0.5 % are", {_OK: "0+199x15", _FULL: "0+1x15"}, "12m"),
]

_GOLDEN = f"ray_manta_golden_check{{{_VERSION}}}"
_DRIFT = f'ray_manta_drift{{{_VERSION},of="classes"}}'
_MODEL = [
    Case("MantaGoldenCheckFailed", "it fails", {_GOLDEN: "1x2 0x5"}, "4m", _VERSION),
    Case("MantaGoldenCheckFailed", "it holds", {_GOLDEN: "1x7"}, "4m"),
    Case("MantaDrift", "0.4 for half an hour", {_DRIFT: "0.05x5 0.4x30"}, "30m", f'{_VERSION},of="classes"'),
    Case("MantaDrift", "0.2", {_DRIFT: "0.2x35"}, "30m"),
    Case("MantaDrift", "0.4 for ten minutes", {_DRIFT: "0.05x5 0.4x10 0.1x20"}, "30m"),
    Case(
        "MantaConfidenceCollapse",
        "half of the answers were above 0.9, now they are below 0.5",
        {
            _confidence("0.5"): "0x120 0+100x8",
            _confidence("0.9"): "0+50x120 6000+100x8",
            _confidence("1.0"): "0+100x128",
            _confidence("+Inf"): "0+100x128",
            _CONFIDENCES: "0+100x128",
        },
        "635m",
        _VERSION,
        "5m",
    ),
    Case(
        "MantaConfidenceCollapse",
        "it was never surer",
        {
            _confidence("0.5"): "0+100x128",
            _confidence("+Inf"): "0+100x128",
            _CONFIDENCES: "0+100x128",
        },
        "635m",
        step="5m",
    ),
]

_VERSIONS = [
    Case(
        "MantaCanaryFails",
        "a tenth against none",
        {
            _asked("new", "canary", "ok"): "0+90x20",
            _asked("new", "canary", "error"): "0+10x20",
            _asked("old", "stable", "ok"): "0+900x20",
        },
        "15m",
        f'{ENDPOINT},version="new"',
    ),
    Case(
        "MantaCanaryFails",
        "both fail alike",
        {
            _asked("new", "canary", "ok"): "0+90x20",
            _asked("new", "canary", "error"): "0+10x20",
            _asked("old", "stable", "ok"): "0+900x20",
            _asked("old", "stable", "error"): "0+100x20",
        },
        "15m",
    ),
    Case(
        "MantaCanaryFails",
        "its clients leave",
        {
            _asked("new", "canary", "ok"): "0+90x20",
            _asked("new", "canary", "cancelled"): "0+10x20",
            _asked("old", "stable", "ok"): "0+900x20",
        },
        "15m",
    ),
    Case(
        "MantaCanarySlow",
        "0.5 to 1 s against less than 0.1",
        {
            _asked("new", "canary", "ok"): "0+100x30",
            _timed("new", "canary", "0.5"): "0x30",
            _timed("new", "canary", "1.0"): "0+100x30",
            _timed("new", "canary", "+Inf"): "0+100x30",
            _timed("old", "stable", "0.1"): "0+900x30",
            _timed("old", "stable", "+Inf"): "0+900x30",
        },
        "25m",
        f'{ENDPOINT},version="new"',
    ),
    Case(
        "MantaCanarySlow",
        "both take as long",
        {
            _asked("new", "canary", "ok"): "0+100x30",
            _timed("new", "canary", "0.1"): "0+100x30",
            _timed("new", "canary", "+Inf"): "0+100x30",
            _timed("old", "stable", "0.1"): "0+900x30",
            _timed("old", "stable", "+Inf"): "0+900x30",
        },
        "25m",
    ),
    Case(
        "MantaCanaryDisagrees",
        "in a third",
        {_compared("same"): "0+20x40", _compared("other"): "0+10x40"},
        "38m",
        f'{ENDPOINT},version="new"',
    ),
    Case(
        "MantaCanaryDisagrees",
        "in a tenth",
        {_compared("same"): "0+27x40", _compared("other"): "0+3x40"},
        "38m",
    ),
    Case(
        "MantaRolledBack",
        "a replica's counter is new",
        {f'ray_manta_version_rollbacks_total{{{ENDPOINT},version="new",WorkerId="a"}}': "_x5 1x10"},
        "10m",
        f'{ENDPOINT},version="new"',
    ),
    Case(
        "MantaRolledBack",
        "an hour ago",
        {f'ray_manta_version_rollbacks_total{{{ENDPOINT},version="new",WorkerId="a"}}': "_x2 1x20"},
        "75m",
        step="5m",
    ),
    Case(
        "MantaVersionRefused",
        "a second time",
        {f"ray_manta_version_refusals_total{{{ENDPOINT}}}": "1x12 2x3"},
        "65m",
        ENDPOINT,
        "5m",
    ),
    Case(
        "MantaVersionRefused", "long ago", {f"ray_manta_version_refusals_total{{{ENDPOINT}}}": "1x70"}, "65m"
    ),
]

CASES = [*_BUDGETS, *_REPLICAS, *_MODEL, *_VERSIONS]
