"""What a release asks of a model, by what its images are grouped, and when it had better not answer.

GateSection(min_accuracy=0.9, max_latency_ms=100).is_set
"""

from typing import Annotated

from pydantic import Field

from lib.config.section import Fraction, Section

Share = Annotated[float, Field(ge=0, le=1)]
Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class GateSection(Section):
    """What the model must reach; if it does not, the job says where and exits with 3. null: not asked."""

    min_accuracy: Share | None = None
    """Accuracy on the split, at least."""
    max_latency_ms: Limit | None = None
    """Milliseconds, at most, within which 95 of 100 images are answered that come one by one, decoding
    included, by torch where the job runs."""
    max_size_mb: Limit | None = None
    """Megabytes (10^6 bytes) of all files of the bundle or ensemble, at most."""
    max_ece: Share | None = None
    """Expected calibration error on the split, at most."""
    min_class_recall: Share | None = None
    """Recall of every class that the split has, at least."""
    max_regression_vs: str | None = Field(default=None, examples=["runs/shipped/bundle"])
    """Bundle or ensemble that must not be better: measured on the same images, and compared by McNemar's
    exact test. If it is more accurate with p < 0.05, the gate is not passed."""

    @property
    def is_set(self) -> bool:
        """Whether anything is asked."""
        return any(value is not None for _, value in self)


class SliceSection(Section):
    """Accuracy by what is known about the images besides their class."""

    file: str | None = Field(default=None, examples=["hospitals.csv"])
    """CSV or Parquet file with a line for each image: its key in the dataset in column `key`, and what else
    is known. Images without a line are counted as (none)."""
    columns: list[str] = Field(default=[], examples=[["hospital", "age"]])
    """Columns to slice by. Numbers of more than eight values are cut into quarters. width and height of the
    pictures need no file."""


class AbstainSection(Section):
    """From which confidence on an answer is right often enough."""

    precision: Fraction | None = Field(default=None, examples=[0.99])
    """Wanted accuracy of the answers that are given. The confidence below which none should be is fitted to
    every other image of the split, and measured on the rest."""
