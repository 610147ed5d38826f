"""The model card of a bundle: its README.md, made of facts and of nothing else.

card = model_card(name="digits", arch="lenet5", classes=classes, preprocess=spec,
                  metrics={"test": summarise(outcomes, 10)}, dataset_digest=dataset.digest)
(bundle / "README.md").write_text(card)
"""

import re
from collections.abc import Mapping, Sequence

from lib.images.spec import PreprocessSpec
from lib.metrics import ClassRow, wilson_interval
from lib.report.svg import percent

MAX_CLASSES = 50
WEAKEST = 5


def model_card(
    *,
    name: str,
    arch: str,
    classes: Sequence[str],
    preprocess: PreprocessSpec,
    metrics: Mapping[str, Mapping[str, float]],
    dataset_digest: str,
    training: Mapping[str, object] | None = None,
    rows: Sequence[ClassRow] = (),
    bundle: str = ".",
) -> str:
    """A model card in Markdown.

    `metrics` is by split, as `summarise` returns it; `training` are further facts to list (weights,
    epochs, seed); `rows` are `per_class` of the last split, to name its weakest classes; `bundle` is
    the path that the commands show.
    """
    sections = [
        f"# {plain(name)}\n\nAn image classifier: {plain(arch)} with {len(classes):,} classes, from Manta.",
        "## Use\n\n" + _usage(bundle),
        "## Measured\n\n" + _metrics_table(metrics),
        "## Classes\n\n" + class_list(classes),
        "## Preprocessing\n\nCarried by the bundle and applied by `Predictor` and the endpoint alike.\n\n"
        + _facts(preprocess.to_dict()),
        "## Training\n\n" + _facts({"dataset digest": dataset_digest, **(training or {})}),
        "## Intended use and limits\n\n"
        + "\n".join(f"- {line}" for line in _limits(classes, preprocess, metrics, rows)),
    ]
    return "\n\n".join(sections) + "\n"


def _usage(bundle: str) -> str:
    return f"""```python
from pathlib import Path

from lib.predict.predictor import Predictor

predictor = Predictor({bundle!r})
probabilities = predictor.predict([Path("image.jpg").read_bytes()])  # [1, classes]
```

```sh
python -m serving bundle={bundle}
```"""


def _metrics_table(metrics: Mapping[str, Mapping[str, float]]) -> str:
    if not metrics:
        return "Nothing has been measured."
    lines = [
        "| split | images | accuracy | 95% interval | balanced accuracy | top-5 accuracy | loss | ECE |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for split, values in metrics.items():
        count = int(values["num_samples"])
        low, high = wilson_interval(values["accuracy"], count)
        shares = [
            percent(values[key]) if key in values else "" for key in ("balanced_accuracy", "top5_accuracy")
        ]
        errors = [f"{values[key]:.3f}" if key in values else "" for key in ("loss", "ece")]
        cells = [
            f"{count:,}",
            percent(values["accuracy"]),
            f"{percent(low)} to {percent(high)}",
            *shares,
            *errors,
        ]
        lines.append(f"| {' | '.join([plain(split), *cells])} |")
    return "\n".join(lines)


def class_list(classes: Sequence[str]) -> str:
    """The names of the classes in Markdown, the first fifty of them."""
    shown = ", ".join(plain(label) for label in classes[:MAX_CLASSES])
    rest = len(classes) - MAX_CLASSES
    return f"{shown}, and {rest:,} more (see `bundle.json`)" if rest > 0 else shown


def _facts(facts: Mapping[str, object]) -> str:
    def shown(value: object) -> str:
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

    return "\n".join(
        f"- {plain(key.replace('_', ' '))}: {plain(shown(value))}" for key, value in facts.items()
    )


def _limits(
    classes: Sequence[str],
    preprocess: PreprocessSpec,
    metrics: Mapping[str, Mapping[str, float]],
    rows: Sequence[ClassRow],
) -> list[str]:
    """What follows from the facts; a sentence whose fact is missing is left out."""
    lines = [
        f"It answers one question: which of {len(classes):,} classes is this image? "
        "Every image gets one of them, also an image of something else."
    ]
    size, resize = preprocess.image_size, preprocess.resize_size
    grey = " in grey" if preprocess.channels == 1 else ""
    edge = (
        f" Of the shorter side only the central {size} of {resize} pixels are seen." if size < resize else ""
    )
    lines.append(f"It sees the central square of an image at {size} by {size} pixels{grey}.{edge}")
    if metrics:
        counts = ", ".join(
            f"{int(values['num_samples']):,} images of {plain(s)}" for s, values in metrics.items()
        )
        lines.append(
            f"It was measured on {counts}. Nothing is known about images that do not resemble these."
        )
        split, values = list(metrics.items())[-1]
        if "ece" in values:
            gap = f"{100 * values['ece']:.1f} percentage points"
            lines.append(f"On {plain(split)} its confidence is off its accuracy by {gap} on average.")
    weakest = sorted((row for row in rows if row["support"]), key=lambda row: row["recall"])[:WEAKEST]
    weakest = [row for row in weakest if row["recall"] < 1]
    if weakest:
        told = ", ".join(
            f"{plain(row['label'])} ({percent(row['recall'])} of {row['support']:,})" for row in weakest
        )
        lines.append(f"It finds these classes least often: {told}.")
    unseen = [row["label"] for row in rows if not row["support"]]
    if unseen:
        classes_had = "1 class had" if len(unseen) == 1 else f"{len(unseen):,} classes had"
        lines.append(f"{classes_had} no image in the measured split: nothing is known about them.")
    return lines


def plain(words: str) -> str:
    """Text that Markdown shows as it is, on one line: a class may be called `<script>` or `a|b`."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&!])", r"\\\1", " ".join(words.split()))
