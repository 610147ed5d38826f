"""What several replicas have counted, as one: bounded in its labels, with the drift of all their images.

sums = Sums()
sums.know({"3f9c2a71d0be": Facts(("cat", "dog"), baseline)})
sums.take(now_s, "replica-1", counted)        # returns what is new; gauges are kept
sums.gauges(now_s)                            # of all replicas that have reported lately
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from lib.track.drift import CONFIDENCE, Baseline, Drift
from lib.track.serving_metrics import ACROSS
from lib.track.tally import Counted, Key

# A replica that has not reported for so long is gone.
GONE_S = 5.0
# Classes with a series of their own, of each version.
SHOWN, OTHER = 20, "other"


@dataclass(frozen=True)
class Facts:
    """What has to be known about a version to make sense of its counts."""

    classes: tuple[str, ...]
    baseline: Baseline | None


class _Known:
    """A version, and its last images."""

    def __init__(self, facts: Facts) -> None:
        classes, baseline = facts.classes, facts.baseline
        frequency = baseline.classes if baseline else [0] * len(classes)
        frequent = sorted(range(len(classes)), key=lambda place: -frequency[place])
        self.shown = {classes[place] for place in frequent[:SHOWN]}
        self.places = {name: place for place, name in enumerate(classes)}
        self.drift = Drift(baseline) if baseline else None


class Sums:
    """The counts of replicas that come and go."""

    def __init__(self) -> None:
        self._gauges: dict[str, tuple[float, dict[Key, float]]] = {}
        self._known: dict[str, _Known] = {}

    def know(self, facts: Mapping[str, Facts]) -> None:
        """Learn about versions; what is known of one already stays, with its last images."""
        for version, each in facts.items():
            if version not in self._known:
                self._known[version] = _Known(each)

    def take(self, now_s: float, replica: str, counted: Counted) -> Counted:
        """Take what a replica has counted; return it with bounded labels, and without its gauges."""
        self._gauges[replica] = (now_s, counted.gauges)
        counts: dict[Key, float] = defaultdict(float)
        classes: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        for (name, labels), by in counted.counts.items():
            if name == "predicted":
                version, label = labels
                known = self._known.get(version)
                if known is not None:
                    classes[version][known.places[label]] += by
                labels = (version, label if known is not None and label in known.shown else OTHER)
            counts[name, labels] += by
        for version, seen in classes.items():
            drift = self._known[version].drift
            if drift is not None:
                bins = counted.bins["confidence", (version,)]
                drift.add(now_s, bins[: len(CONFIDENCE)], seen)
        return Counted(dict(counts), counted.bins)

    def leave(self, replica: str) -> None:
        """Forget how things stand with a replica that has ended."""
        self._gauges.pop(replica, None)

    def gauges(self, now_s: float) -> dict[Key, float]:
        """Return the gauges of all replicas that are there, put together."""
        self._gauges = {name: held for name, held in self._gauges.items() if now_s - held[0] <= GONE_S}
        values: dict[Key, list[float]] = defaultdict(list)
        for _, gauges in self._gauges.values():
            for key, value in gauges.items():
                values[key].append(value)
        found = {key: ACROSS[key[0]](each) for key, each in values.items()}
        found["replicas", ()] = len(self._gauges)
        served = {labels[0] for name, labels in found if name == "golden_check"}
        for version in served & self._known.keys():
            drift = self._known[version].drift
            for of, value in (drift.index(now_s) if drift else {}).items():
                found["drift", (version, of)] = value
        return found
