"""The metrics of an endpoint: each once, with its name, kind, unit, labels and meaning.

Labels are bounded: routes and codes are those that there are, a class beyond the most frequent is "other".
"""

from collections.abc import Callable, Iterable

from lib.track.drift import CONFIDENCE
from lib.track.metric import Metric

_LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)

SERVING: dict[str, Metric] = {
    "requests": Metric(
        "counter",
        "requests",
        ("route", "code"),
        "Requests answered by replicas. route: of the endpoint, a method of gRPC with its service, or other; "
        "code: of HTTP, or its equal for gRPC; 499 for a client that left.",
    ),
    "request_seconds": Metric(
        "histogram", "seconds", ("route",), "Time from the first byte to the answer.", _LATENCIES_S
    ),
    "stage_seconds": Metric(
        "histogram",
        "seconds",
        ("stage",),
        "Time of an image in a stage. stage: decode, queue, forward (the networks, and the way to them with "
        "serve.placement=split), combine.",
        _LATENCIES_S,
    ),
    "replicas": Metric("gauge", "replicas", (), "Replicas that report."),
    "ready": Metric("gauge", "replicas", (), "Replicas whose model keeps up."),
    "admitted": Metric(
        "gauge", "requests", (), "Requests that the replicas are working on or keep in their queues."
    ),
    "capacity": Metric(
        "gauge", "requests", (), "Requests that the replicas admit; further ones are told 429."
    ),
    "batch_size": Metric("histogram", "images", (), "Images of a forward pass.", _SIZES),
    "images": Metric("counter", "images", ("version",), "Images answered."),
    "images_by_members": Metric(
        "counter", "images", ("version", "members"), "Images answered, by how many members were asked."
    ),
    "cost_seconds": Metric(
        "counter",
        "seconds",
        ("version", "of"),
        "Compute by the costs that the ensemble was measured with. of: spent, full (had all been asked).",
    ),
    "confidence": Metric(
        "histogram", "probability", ("version",), "Probability of the first prediction.", CONFIDENCE
    ),
    "predicted": Metric(
        "counter",
        "images",
        ("version", "label"),
        "First predictions, by class: the 20 most frequent in validation, and other.",
    ),
    "drift": Metric(
        "gauge",
        "psi",
        ("version", "of"),
        "Population stability index of the last 1,000 images against validation, less what chance adds. of: "
        "confidence, classes.",
    ),
    "golden_check": Metric(
        "gauge",
        "bool",
        ("version",),
        "1 for a version whose golden images came out as they were exported, on all replicas; 0 for one that "
        "is not served for that reason.",
    ),
    "version_requests": Metric(
        "counter",
        "requests",
        ("version", "role", "outcome"),
        "Requests that a version was given. role: stable, canary (it answers), shadow (it is compared); "
        "outcome: ok, refused (by its own fault), error, cancelled (the client left, or out of time).",
    ),
    "version_request_seconds": Metric(
        "histogram",
        "seconds",
        ("version", "role"),
        "Time from the decoded picture to the probabilities.",
        _LATENCIES_S,
    ),
    "version_comparisons": Metric(
        "counter",
        "requests",
        ("version", "outcome"),
        "Requests shown to a candidate and the stable version. outcome: same or other label, skipped because "
        "too many were under way.",
    ),
    "version_share": Metric(
        "gauge", "fraction", ("version", "role"), "Share of the requests that a version is to see."
    ),
    "version_rollbacks": Metric(
        "counter", "versions", ("version",), "Candidates that a replica took out by the rule of rollback."
    ),
    "version_refusals": Metric(
        "counter", "versions", (), "Versions that a replica was told to load and did not take."
    ),
}

# What the gauges of several replicas are together.
ACROSS: dict[str, Callable[[Iterable[float]], float]] = {
    "ready": sum,
    "admitted": sum,
    "capacity": sum,
    "golden_check": min,
    "version_share": max,
}
