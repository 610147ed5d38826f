"""The report of a run or an evaluation, from its outcomes and the pictures behind the hardest mistakes.

report = build_report("digits", classes, {"test": metrics}, outcomes, samples, history=history)
write_report(folder, report)
"""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image

from lib.data.dataset import Samples
from lib.images.decode import decode
from lib.metrics import Outcomes, hardest
from lib.report.html import MAX_MISTAKES, Report, hardest_mistakes
from lib.report.sheet import Sheet

_THUMBNAIL = 96
# Of zlib: the least, for a few kB; the usual 6 takes several times as long.
_COMPRESSION = 1
# Of the hardest mistakes, how many are explained: each costs a pass through the network and back.
_EXPLAINED = 12
# Lays a heat map over the picture whose bytes are given, for a class; None if the network has none.
Explain = Callable[[bytes, int], bytes | None]


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
    explain: Explain | None = None,
    gate: Mapping[str, Any] | None = None,
    compared: Sequence[Mapping[str, Any]] = (),
    slices: Sequence[Mapping[str, Any]] = (),
    abstain: Mapping[str, Any] | None = None,
    calibration: Mapping[str, Any] | None = None,
) -> Report:
    """Put a report together; `outcomes` are those of the split `samples`."""
    keys = samples.keys(outcomes.ids)
    mistakes = hardest_mistakes(outcomes, keys, classes)
    for number, (mistake, row) in enumerate(zip(mistakes, hardest(outcomes, MAX_MISTAKES), strict=True)):
        data = samples.read(int(outcomes.ids[row]))
        mistake["thumbnail"] = _thumbnail(decode(data, channels=3))
        if explain is not None and number < _EXPLAINED:
            heat = explain(data, int(outcomes.predicted[row]))
            mistake["heat"] = None if heat is None else _thumbnail(Image.open(io.BytesIO(heat)))
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
        gate=gate,
        compared=compared,
        slices=slices,
        abstain=abstain,
        calibration=calibration,
    )


def _thumbnail(image: Image.Image) -> bytes:
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=_COMPRESSION)
    return stream.getvalue()
