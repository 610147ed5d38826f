"""An ensemble in words: the closing lines of the job that made it, and its model card.

card = ensemble_card("pets", measured, classes, "runs/ensembles/pets")       # Markdown
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lib.report.card import class_list, plain
from lib.report.svg import percent, points, points_range


def measured_rows(measured: Mapping[str, Any]) -> dict[str, str]:
    """What was measured, as rows of a name and a sentence."""
    members = {
        f"member {number}": f"{percent(each['accuracy'], 2)} {each['arch']}, {each['cost']:.3g} ms an image"
        + ("" if each["kept"] else ", left out")
        for number, each in enumerate(measured["members"])
    }
    full, cascade = measured["ensemble"], measured["cascade"]
    accuracy, gain = percent(full["accuracy"], 2), points(full["gain"])
    rows = {
        **members,
        "together": f"{accuracy} with views {full['views']}, {full['cost']:.3g} ms an image",
        "gain": f"{gain} points over {measured['best_member']} ({points_range(full['gain_interval'])})",
    }
    if cascade is not None:
        rows["cascade"] = (
            f"{percent(cascade['accuracy'], 2)}, {cascade['mean_members']:.2f} members on average, "
            f"{percent(cascade['cost_fraction'])} of the cost"
            + ("; no image stops early" if cascade["stages"][-1]["stopped"] == 1 else "")
        )
        rows["drop"] = (
            f"{points(cascade['drop'])} points below all together ({points_range(cascade['drop_interval'])})"
        )
    rows["measured"] = (
        f"on {measured['num_samples']:,} images of {measured['split']} that nothing was fitted to"
    )
    return rows


def ensemble_card(name: str, measured: Mapping[str, Any], classes: Sequence[str], path: str) -> str:
    """A model card in Markdown, made of facts alone."""
    table = ["| | |", "|---|---|"]
    table += [f"| {plain(key)} | {plain(value)} |" for key, value in measured_rows(measured).items()]
    return f"""# {plain(name)}

An image classifier: {len(measured["members"])} networks together, with {len(classes):,} classes, from Manta.

## Use

```python
from pathlib import Path

from lib.predict.ensemble import Ensemble

ensemble = Ensemble.load({path!r})
probabilities = ensemble.predict([Path("image.jpg").read_bytes()])  # [1, classes]
```

```sh
python -m serving bundle={path}
```

## Measured

{chr(10).join(table)}

Intervals are of 95%; differences are paired, image by image. Costs hold for the machine that measured them.

## Classes

{class_list(classes)}
"""
