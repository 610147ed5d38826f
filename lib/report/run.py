"""The report of a run or an evaluation, from its outcomes and the pictures behind the hardest mistakes.

report = build_report("digits", classes, {"test": metrics}, outcomes, samples, history=history)
write_report(folder, report)
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from lib.data.dataset import Samples
from lib.images.decode import decode
from lib.metrics import Outcomes, hardest
from lib.report.html import MAX_MISTAKES, Report, hardest_mistakes
from lib.report.sheet import Sheet

_THUMBNAIL = 96


def build_report(
    title: str,
    classes: list[str],
    split_metrics: Mapping[str, Mapping[str, float]],
    outcomes: Outcomes,
    samples: Samples,
    *,
    summary: Mapping[str, str],
    history: Sequence[Mapping[str, Any]] = (),
    rates: Sequence[tuple[float, float]] = (),
    augmentations: Sheet | None = None,
    next_steps: Sequence[str] = (),
    ensemble: Mapping[str, Any] | None = None,
) -> Report:
    """Put a report together; `outcomes` are those of the split `samples`."""
    keys = samples.keys(outcomes.ids)
    mistakes = hardest_mistakes(outcomes, keys, classes)
    for mistake, row in zip(mistakes, hardest(outcomes, MAX_MISTAKES), strict=True):
        mistake["thumbnail"] = _thumbnail(samples.read(int(outcomes.ids[row])))
    return Report(
        title=title,
        summary=summary,
        classes=classes,
        split_metrics=split_metrics,
        history=history,
        rates=rates,
        augmentations=augmentations,
        outcomes=outcomes,
        outcomes_split=samples.name,
        keys=keys,
        mistakes=mistakes,
        next_steps=next_steps,
        ensemble=ensemble,
    )


def _thumbnail(data: bytes) -> bytes:
    image = decode(data, channels=3)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
