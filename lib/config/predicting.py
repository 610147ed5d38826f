"""What jobs/predict.py may be told.

PredictConfig(bundle="runs/digits/bundle", input="photos", out="runs/predictions/photos")
"""

from typing import Literal

from pydantic import Field

from lib.config.reading import LoadingSection
from lib.config.running import EvaluateRunSection
from lib.config.section import Count, Fraction, Section
from lib.config.tracking import JobTrackSection


class InputSection(LoadingSection):
    """Which pictures of the input, and how they are read."""

    split: str = "test"
    """Split of a packed dataset."""
    image_column: str = "image"
    """Column of Parquet files that holds the pictures: their bytes, or a struct with a field `bytes`."""
    key_column: str | None = None
    """Column of Parquet files that names the pictures; by default file and row do."""


class PredictConfig(Section):
    """Answer many pictures with a bundle or an ensemble, and write a Parquet file."""

    bundle: str = Field(examples=["runs/digits/bundle"])
    """Bundle folder written by jobs/finetune.py, or ensemble folder written by jobs/ensemble.py."""
    input: str = Field(examples=["photos", "runs/datasets/digits", "photos.parquet"])
    """A folder of pictures, whatever its folders are called; a packed dataset (its URI too); a Parquet file,
    or a folder of them."""
    out: str = Field(examples=["runs/predictions/photos"])
    """Folder for predictions.parquet. A job that was stopped goes on with the same words; a finished one is
    not repeated."""
    batch_size: Count = 64
    """Images per forward pass."""
    part_images: Count = 4096
    """Images that a worker answers and writes at once, rounded to whole batches: what a stopped job repeats
    at most."""
    engine: Literal["torch", "openvino", "auto"] = "torch"
    """What runs the network. torch answers as jobs/evaluate.py does; auto measures what is installed and
    takes the fastest. Other engines round differently."""
    abstain_below: Fraction | None = None
    """Mark answers with a lower probability in the column `abstained`. jobs/evaluate.py finds the threshold
    for a wanted abstain.precision."""
    read: InputSection = InputSection()
    run: EvaluateRunSection = EvaluateRunSection()
    track: JobTrackSection = JobTrackSection()
