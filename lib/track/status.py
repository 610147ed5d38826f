"""What trains and what is served, as a few lines of text, from two looks at the metrics.

for line in status(before, after):
    say(line)
"""

import math
from collections.abc import Iterator, Sequence

from lib.console import duration
from lib.track.scrape import Labels, Snapshot

_UNKNOWN = "-"
_RUNS = (
    "run",
    "is",
    "epoch",
    "loss (val)",
    "accuracy (val)",
    "images/s",
    "data wait",
    "left",
    "workers",
    "restarts",
    "bad",
)
_ENDPOINTS = (
    "ready",
    "requests/s",
    "refused",
    "errors",
    "p50",
    "p99",
    "queue",
    "members",
    "drift",
    "versions",
)
# Ray's own label of the cluster that a series comes from.
_CLUSTER = "SessionName"


def status(before: Snapshot, after: Snapshot) -> Iterator[str]:
    """Yield a table of runs and one of endpoints; rates are taken from one look to the other."""
    added = after.since(before)
    runs = [_run(after, added, key) for key in sorted(after.of("train_running"), key=sorted)]
    clusters = sorted({dict(key).get(_CLUSTER, "") for key in after.of("replicas")})
    yield from _table("training", _RUNS, runs)
    yield from _table("serving", _ENDPOINTS, [_endpoint(after, added, cluster) for cluster in clusters])


def quantile(added: Snapshot, name: str, share: float, **labels: str) -> float | None:
    """Return the value that a share of a histogram lies below, as Prometheus does; None without values."""
    below: dict[float, float] = {}
    for key, count in added.of(f"{name}_bucket", **labels).items():
        bound = float(dict(key)["le"])
        below[bound] = below.get(bound, 0.0) + count
    bounds = sorted(below)
    if not bounds or not below[bounds[-1]]:
        return None
    rank, last, last_count = share * below[bounds[-1]], 0.0, 0.0
    for bound in bounds:
        if below[bound] >= rank:
            if math.isinf(bound):
                return last
            return last + (bound - last) * (rank - last_count) / (below[bound] - last_count)
        last, last_count = bound, below[bound]
    raise AssertionError("the last bound holds all")


def _run(after: Snapshot, added: Snapshot, key: Labels) -> list[str]:
    """Return the cells of a run, as one worker 0 tells them: those of a study's trials have a row each."""
    own = dict(key)

    def gauge(name: str, form: str = "{:g}", **labels: str) -> str:
        found = after.of(f"train_{name}", **own, **labels)
        return form.format(next(iter(found.values()))) if found else _UNKNOWN

    def total(name: str) -> float:
        return added.total(f"train_{name}_total", **own)

    def both(name: str) -> str:
        return f"{gauge(name, '{:.4f}', split='train')} ({gauge(name, '{:.4f}', split='val')})"

    trained_s = total("seconds")
    left = after.of("train_time_left_seconds", **own)
    is_running = after.of("train_running", **own)[key] == 1
    return [
        own["run"],
        _state(is_running, gauge("measuring") == "1", trained_s > 0),
        f"{gauge('epoch', '{:.2f}')}/{gauge('epochs')}",
        both("loss"),
        both("accuracy"),
        f"{total('images') / trained_s:,.0f}" if trained_s else _UNKNOWN,
        f"{total('data_wait_seconds') / trained_s:.0%}" if trained_s else _UNKNOWN,
        duration(next(iter(left.values()))) if left and is_running else _UNKNOWN,
        gauge("workers"),
        gauge("restarts"),
        gauge("bad_samples"),
    ]


def _state(is_running: bool, is_measuring: bool, is_stepping: bool) -> str:
    if not is_running:
        return "ended"
    return "measuring" if is_measuring else "training" if is_stepping else "waiting"


def _endpoint(after: Snapshot, added: Snapshot, cluster: str) -> list[str]:
    """Return the cells of the endpoint of a cluster, all its replicas together."""
    own = {_CLUSTER: cluster} if cluster else {}
    codes: dict[str, float] = {}
    for key, count in added.of("requests_total", **own).items():
        code = dict(key)["code"]
        codes[code] = codes.get(code, 0.0) + count
    answered = sum(codes.values())

    def share(first: str) -> str:
        found = sum(count for code, count in codes.items() if code.startswith(first))
        return f"{found / answered:.1%}" if answered else _UNKNOWN

    images = [
        (int(dict(key)["members"]), count)
        for key, count in added.of("images_by_members_total", **own).items()
    ]
    drifts = after.of("drift", **own).values()
    shares = after.of("version_share", **own)
    return [
        f"{after.total('ready', **own):g} of {after.total('replicas', **own):g}",
        f"{answered / added.at:,.1f}",
        share("4"),
        share("5"),
        *(_milliseconds(quantile(added, "request_seconds", part, **own)) for part in (0.5, 0.99)),
        f"{after.total('admitted', **own):g} of {after.total('capacity', **own):g}",
        _mean(images),
        f"{max(drifts):.2f}" if drifts else _UNKNOWN,
        ", ".join(sorted({f"{dict(key)['version']} {dict(key)['role']}" for key in shares})) or _UNKNOWN,
    ]


def _mean(counts: Sequence[tuple[int, float]]) -> str:
    total = sum(count for _, count in counts)
    return f"{sum(number * count for number, count in counts) / total:.2f}" if total else _UNKNOWN


def _milliseconds(seconds: float | None) -> str:
    return _UNKNOWN if seconds is None else f"{seconds * 1000:,.0f} ms"


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        yield f"{title}: none"
        return
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    yield title
    for row in [columns, *rows]:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
