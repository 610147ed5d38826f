"""The metrics of an endpoint: each once, with its name, kind, unit, labels and meaning.

Labels are bounded: routes and codes are those that there are, a class beyond the most frequent is "other".
"""

from lib.track.metric import Metric

_LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SHARES = tuple(step / 20 for step in range(1, 21))
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)

SERVING: dict[str, Metric] = {
    "requests": Metric(
        "counter", "requests", ("route", "code"), "Requests answered. code: of HTTP, or its equal for gRPC."
    ),
    "request_seconds": Metric(
        "histogram", "seconds", ("route",), "Time from the first byte to the answer.", _LATENCIES_S
    ),
    "stage_seconds": Metric(
        "histogram",
        "seconds",
        ("stage",),
        "Time of a part of a request. stage: decode, queue, forward, combine.",
        _LATENCIES_S,
    ),
    "admitted": Metric(
        "gauge", "requests", (), "Requests that a replica is working on or keeps in its queue."
    ),
    "capacity": Metric("gauge", "requests", (), "Requests that a replica admits; the next one is told 429."),
    "ready": Metric("gauge", "bool", (), "1 while the model of a replica keeps up."),
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
        "histogram", "probability", ("version",), "Probability of the first prediction.", _SHARES
    ),
    "predicted": Metric("counter", "images", ("version", "label"), "First predictions, by class."),
    "drift": Metric(
        "gauge",
        "psi",
        ("version", "of"),
        "Population stability index of the last images against validation. of: confidence, classes.",
    ),
    "golden_check": Metric(
        "gauge", "bool", ("version",), "1 while the golden images come out as they were exported."
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
