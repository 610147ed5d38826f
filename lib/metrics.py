"""Every number Manta reports, computed from one table of per-sample outcomes.

    outcomes = Outcomes.concat(parts)                     # one part per worker
    summarise(outcomes, len(classes))                     # {"num_samples": 360, "accuracy": 0.97, ...}
    per_class(outcomes, classes), confusion(outcomes, len(classes))

Because metrics come from the gathered table and never from averages of averages, they are the same
at any number of workers and any batch size. Legend: n samples, k = min(5, classes), p in [0, 1].
"""

from dataclasses import dataclass, fields
from math import sqrt
from pathlib import Path
from typing import Any, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

TOP = 5
ECE_BINS = 15
SMALLEST = float(np.finfo(np.float32).tiny)  # keeps the loss of a probability of 0 finite: 87.3


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What the model said about each sample of a split; classes are ordered by falling probability."""

    ids: NDArray[np.int64]  # [n]
    labels: NDArray[np.int64]  # [n]
    top_index: NDArray[np.int64]  # [n, k]
    top_probability: NDArray[np.float32]  # [n, k]
    loss: NDArray[np.float32]  # [n]
    brier: NDArray[np.float32]  # [n]: squared distance between the probabilities and the truth, 0 to 2

    def __post_init__(self) -> None:
        n = len(self.ids)
        assert self.ids.shape == self.labels.shape == self.loss.shape == (n,), "one row per sample"
        assert self.brier.shape == (n,), "one row per sample"
        assert self.top_index.shape == self.top_probability.shape, "a probability for each index"
        assert self.top_index.ndim == 2, "top_index is [n, k]"
        assert len(self.top_index) == n, "one row per sample"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each sample, int64 [n]."""
        return self.top_index[:, 0]

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the predicted class, float64 [n]."""
        return self.top_probability[:, 0].astype(np.float64)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the prediction is the label, bool [n]."""
        hit: NDArray[np.bool_] = self.predicted == self.labels
        return hit

    @classmethod
    def from_probabilities(
        cls, ids: NDArray[np.int64], labels: NDArray[np.int64], probabilities: NDArray[np.floating[Any]]
    ) -> Self:
        """The outcomes of probabilities [n, classes]: cross-entropy as loss, ties in the order of classes."""
        top = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
        of_truth = probabilities[np.arange(len(labels)), labels]
        return cls(
            ids=ids.astype(np.int64),
            labels=labels.astype(np.int64),
            top_index=top.astype(np.int64),
            top_probability=np.take_along_axis(probabilities, top, axis=1).astype(np.float32),
            loss=-np.log(np.maximum(of_truth, SMALLEST)).astype(np.float32),
            # Sum over k of (p_k - y_k)^2, with y = 1 for the truth and 0 elsewhere.
            brier=((probabilities**2).sum(axis=1) - 2 * of_truth + 1).astype(np.float32),
        )

    @classmethod
    def concat(cls, parts: list[Self]) -> Self:
        """Join the parts of several workers into one table sorted by id; every id occurs once."""
        assert parts, "nothing to join"
        joined = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)}
        order = np.argsort(joined["ids"], kind="stable")
        ids = joined["ids"][order]
        repeated = ids[1:][ids[1:] == ids[:-1]]
        assert not len(repeated), f"evaluated more than once: ids {repeated[:5].tolist()}"
        return cls(**{name: values[order] for name, values in joined.items()})

    def save(self, path: Path | str) -> None:
        """Write the table as a compressed .npz that holds no pickle."""
        arrays: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        with Path(path).open("wb") as file:  # given a name, numpy would append ".npz" to it
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})


class ClassRow(TypedDict):
    """One class in numbers; a ratio with an empty denominator is 0."""

    label: str
    support: int
    precision: float
    recall: float
    f1: float


class ConfidenceBin(TypedDict):
    """The samples with low < p <= high; `confidence` and `accuracy` are means, 0 in an empty bin."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


class ConfusedPair(TypedDict):
    """How often one class is taken for another; `fraction` is of the samples of the true class."""

    truth: int
    predicted: int
    count: int
    fraction: float


def summarise(outcomes: Outcomes, num_classes: int) -> dict[str, float]:
    """The metrics of a split: num_samples, accuracy, top5_accuracy, loss, ece, balanced_accuracy.

    `balanced_accuracy` is the mean recall of the classes that occur; `ece` is Guo et al. 2017.
    """
    assert len(outcomes), "no samples"
    assert outcomes.top_index.shape[1] == min(TOP, num_classes), "k is min(5, classes)"
    support = np.bincount(outcomes.labels, minlength=num_classes)
    hits = np.bincount(outcomes.labels[outcomes.correct], minlength=num_classes)
    present = support > 0
    in_top = (outcomes.top_index == outcomes.labels[:, None]).any(axis=1)
    return {
        "num_samples": len(outcomes),
        "accuracy": float(outcomes.correct.mean()),
        "top5_accuracy": float(in_top.mean()),
        "loss": float(outcomes.loss.mean(dtype=np.float64)),
        "ece": expected_calibration_error(reliability(outcomes)),
        "balanced_accuracy": float((hits[present] / support[present]).mean()),
    }


def per_class(outcomes: Outcomes, classes: list[str]) -> list[ClassRow]:
    """Support, precision, recall and F1 of every class, in the order of `classes`."""
    from sklearn.metrics import precision_recall_fscore_support  # only reports need scikit-learn

    columns = precision_recall_fscore_support(
        outcomes.labels, outcomes.predicted, labels=range(len(classes)), zero_division=0
    )
    return [
        ClassRow(label=label, support=int(n), precision=float(p), recall=float(r), f1=float(f))
        for label, p, r, f, n in zip(classes, *columns, strict=True)
    ]


def confusion(outcomes: Outcomes, num_classes: int) -> NDArray[np.int64]:
    """Counts by true class (rows) and predicted class (columns), int64 [classes, classes]."""
    cells = outcomes.labels * num_classes + outcomes.predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def most_confused(matrix: NDArray[np.int64], limit: int) -> list[ConfusedPair]:
    """The most frequent mistakes of a confusion matrix, by count, then by share of the true class."""
    support = matrix.sum(axis=1)
    truth, predicted = np.nonzero(matrix * ~np.eye(len(matrix), dtype=np.bool_))
    count = matrix[truth, predicted]
    fraction = count / support[truth]
    order = np.lexsort((-fraction, -count))[:limit]
    return [
        ConfusedPair(
            truth=int(truth[i]), predicted=int(predicted[i]), count=int(count[i]), fraction=float(fraction[i])
        )
        for i in order
    ]


def reliability(outcomes: Outcomes, bins: int = ECE_BINS) -> list[ConfidenceBin]:
    """Confidence against accuracy in equal-width bins of the top-1 probability, empty bins included."""
    confidence = outcomes.confidence
    # Bins are open below and closed above as in the paper; rounding may carry p past either end.
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    filled = np.maximum(count, 1)
    mean_confidence = np.bincount(index, weights=confidence, minlength=bins) / filled
    accuracy = np.bincount(index, weights=outcomes.correct, minlength=bins) / filled
    return [
        ConfidenceBin(
            low=i / bins,
            high=(i + 1) / bins,
            count=int(count[i]),
            confidence=float(mean_confidence[i]),
            accuracy=float(accuracy[i]),
        )
        for i in range(bins)
    ]


def expected_calibration_error(bins: list[ConfidenceBin]) -> float:
    """The mean gap between confidence and accuracy, weighted by the count of each bin."""
    total = sum(b["count"] for b in bins)
    return sum(b["count"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / total


def brier_score(outcomes: Outcomes) -> float:
    """Brier's score over all classes, from 0 (certain and right) to 2 (certain and wrong)."""
    return float(outcomes.brier.mean(dtype=np.float64))


def hardest(outcomes: Outcomes, limit: int) -> NDArray[np.int64]:
    """Rows of the wrong predictions with the highest loss, worst first, int64 [<= limit]."""
    wrong = np.flatnonzero(~outcomes.correct)
    return wrong[np.argsort(-outcomes.loss[wrong], kind="stable")][:limit]


def wilson_interval(fraction: float, num_samples: int, z: float = 1.959964) -> tuple[float, float]:
    """The Wilson score interval of a proportion (95 % by default), which stays inside [0, 1].

    Raises: AssertionError without samples.
    """
    assert num_samples > 0, "no samples"
    spread = z * z / num_samples
    centre = (fraction + spread / 2) / (1 + spread)
    half = z * sqrt(fraction * (1 - fraction) / num_samples + spread / (4 * num_samples)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_difference(
    one: NDArray[np.bool_], other: NDArray[np.bool_], z: float = 1.959964
) -> tuple[float, float, float]:
    """The difference of two accuracies on the same samples [n], and its interval (95 % by default).

    Bonett and Price 2012, an adjusted Wald interval for paired proportions, which is not empty when the two
    never differ. Raises: AssertionError without samples.
    """
    count = len(one)
    assert count == len(other) > 0, "the same samples, at least one"
    better, worse = int((one & ~other).sum()), int((other & ~one).sum())
    gained, lost = (better + 1) / (count + 2), (worse + 1) / (count + 2)
    half = z * sqrt((gained + lost - (gained - lost) ** 2) / (count + 2))
    middle = gained - lost
    return (better - worse) / count, middle - half, middle + half
