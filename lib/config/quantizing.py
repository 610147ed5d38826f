"""What jobs/quantize.py may be told."""

from typing import Annotated

from pydantic import Field

from lib.config.reading import ReadingSection
from lib.config.section import Count, Fraction, Section


class QuantizeConfig(Section):
    """Add an int8 network to a bundle, if it is as accurate."""

    bundle: str = Field(examples=["runs/digits/bundle"])
    """Bundle folder written by jobs/finetune.py; it stays as it is."""
    data: ReadingSection
    split: str = "val"
    """Split that ranges are taken from and accuracy is measured on; the network must not have learned it."""
    calibration_images: Count = 300
    """Images that ranges are taken from, a third of the split at most; accuracy is measured on the others."""
    max_accuracy_drop: Fraction = 0.005
    """Accuracy that int8 may lose on them; 0.005 is half a percentage point. If it loses more, nothing is
    written and the job exits with 3."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Images per forward pass."""
    out: str | None = None
    """Folder for the results, which must not exist; the new bundle is OUT/bundle. By default the name of the
    model and -int8, beside its run."""
