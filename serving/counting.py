"""What a replica counts about its answers and itself.

tally.later(increments_of_request, "/predict", 200, took_s)
tally.later(increments_of_answers, version, found, views, decode_s)    # if there were any
set_gauges(tally, gateway)                                         # before what was counted is handed on
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib.track.tally import Increments, Key, Tally
from serving.member import Result
from serving.sums import Facts
from serving.version import Row, Version

if TYPE_CHECKING:
    from serving.gateway import Gateway

_DECODE, _QUEUE, _FORWARD, _COMBINE = (
    ("stage_seconds", (stage,)) for stage in ("decode", "queue", "forward", "combine")
)


def increments_of_request(route: str, code: int, took_s: float) -> Increments:
    """Return the counts of a request that was answered."""
    return [(("requests", (route, str(code))), 1)], [(("request_seconds", (route,)), took_s)]


def increments_of_version(version: str, role: str, outcome: str, took_s: float) -> Increments:
    """Return the counts of a request that a version was given."""
    timed = [(("version_request_seconds", (version, role)), took_s)] if outcome == "ok" else []
    return [(("version_requests", (version, role, outcome)), 1)], timed


def increments_of_batch(images: int) -> Increments:
    """Return the counts of a forward pass."""
    return (), [(("batch_size", ()), images)]


def increments_of_answers(
    version: Version, found: Sequence[Result[Row]], views: str | None, decode_s: Sequence[float]
) -> Increments:
    """Return the counts of the images of a request; those that came as pixels have no `decode_s`."""
    name, classes = version.name.version, version.folder.classes
    full_ms = version.ensemble.full_cost_ms(views)
    # Each request comes through here, so keys are written out: labels in the order of the table.
    values: list[tuple[Key, float]] = [(_DECODE, seconds) for seconds in decode_s]
    counts: list[tuple[Key, float]] = [(("images", (name,)), len(found))]
    for result in found:
        row = result.answer
        best = int(row.probabilities.argmax())
        # As in the baseline: rounding may carry a probability past 1.
        confidence = min(1.0, float(row.probabilities[best]))
        values += (
            (_QUEUE, result.queue_s),
            (_FORWARD, result.forward_s - row.combine_s),
            (_COMBINE, row.combine_s),
            (("confidence", (name,)), confidence),
        )
        counts += (
            (("predicted", (name, classes[best])), 1),
            (("images_by_members", (name, str(row.members))), 1),
        )
        if full_ms:
            counts += (
                (("cost_seconds", (name, "spent")), row.cost_ms / 1000),
                (("cost_seconds", (name, "full")), full_ms / 1000),
            )
    return counts, values


def set_gauges(tally: Tally, gateway: "Gateway") -> None:
    """Note how things stand with a replica."""
    lineup = gateway.lineup
    admitted, capacity = gateway.places
    tally.set("admitted", admitted)
    tally.set("capacity", capacity)
    tally.set("ready", float(gateway.ready))
    tally.clear("golden_check")
    for version in gateway.disproved:
        tally.set("golden_check", 0, version=version)
    for served in lineup.versions():
        tally.set("golden_check", 1, version=served.name.version)
    tally.clear("version_share")
    for each in lineup.served():
        role = "stable" if each.version == lineup.stable.name.version else "canary"
        tally.set("version_share", each.weight, version=each.version, role=role)
        if each.shadow:
            tally.set("version_share", each.shadow, version=each.version, role="shadow")


def facts_of(gateway: "Gateway") -> dict[str, Facts]:
    """Return what has to be known about the versions that are served."""
    return {
        each.name.version: Facts(tuple(each.folder.classes), each.folder.manifest.baseline)
        for each in gateway.lineup.versions()
    }
