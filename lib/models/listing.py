"""The networks that a name or a glob stands for, as a table for the terminal.

say(list_models([]))                                 # Manta's and torchvision's
say(list_models(["resnet*", "timm:convnext*"]))
"""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from lib.config.names import MANTA_MODELS, TORCHVISION_MODELS
from lib.errors import UserError
from lib.models.registry import TIMM_PREFIX, import_timm
from lib.models.table import ModelRow, model_table

# Each costs about a tenth of a second.
MOST_ROWS = 200

LEGEND = (
    "params: for 1000 classes; layers: those with weights; features: the inputs of the head; GFLOPs: of one",
    "image of px x px, a multiply-add counting as two; MB: of float32; weights: of model.weights=default;",
    "acc: their top-1 accuracy on ImageNet, as torchvision publishes it; best at: among the networks shown",
)
MORE = "timm has more: --list-models 'timm:convnext*' (pip install 'manta[timm]')"


def list_models(patterns: Sequence[str]) -> str:
    """A line per network that matches any of `patterns`; without patterns, Manta's and torchvision's.

    Raises UserError where a pattern matches nothing or all of them too much.
    """
    names = list(dict.fromkeys(name for pattern in patterns or ["*"] for name in _matching(pattern)))
    if len(names) > MOST_ROWS:
        raise UserError(
            f"--list-models {' '.join(patterns)}: {len(names):,} networks are too many for a table",
            f"narrow it to {MOST_ROWS} or fewer",
        )
    lines = _aligned([HEADER, *(_cells(row) for row in model_table(names))])
    return "\n".join([*lines, "", *LEGEND, *([] if patterns else [MORE])])


def _matching(pattern: str) -> list[str]:
    if "=" in pattern or pattern.endswith((".yaml", ".yml")):
        raise UserError(
            f"--list-models {pattern}: not a name of networks",
            "give names or globs: --list-models 'resnet*' 'timm:convnext*'",
        )
    if pattern.startswith(TIMM_PREFIX):
        timm, glob = import_timm(), pattern.removeprefix(TIMM_PREFIX)
        # A name with a tag, such as convnext_tiny.fb_in1k, is one of several sets of weights.
        found = timm.list_pretrained(glob) if "." in glob else timm.list_models(glob)
        known, names = timm.list_models(), [f"{TIMM_PREFIX}{name}" for name in found]
    else:
        known = [*MANTA_MODELS, *TORCHVISION_MODELS]
        names = [name for name in known if fnmatchcase(name, pattern)]
    if not names:
        near = difflib.get_close_matches(pattern.removeprefix(TIMM_PREFIX).strip("*"), known, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "--list-models alone shows all but timm's"
        raise UserError(f"--list-models {pattern}: there is no such network", hint)
    return names


HEADER = ("name", "params", "layers", "features", "GFLOPs", "MB", "px", "weights", "acc", "best at")


def _cells(row: ModelRow) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.parameters:,}",
        str(row.layers),
        str(row.features),
        f"{row.flops / 1e9:.3g}" if row.flops < 1e12 else f"{row.flops / 1e9:,.0f}",
        f"{row.size_mb:,.1f}",
        str(row.image_size),
        row.weights,
        "-" if row.imagenet_accuracy is None else f"{row.imagenet_accuracy:.3f}",
        ", ".join(row.strengths),
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines, text to the left of its column and numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    is_text = [title in ("name", "weights", "best at") for title in HEADER]
    return [
        "  ".join(
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(row, widths, is_text, strict=True)
        ).rstrip()
        for row in rows
    ]
