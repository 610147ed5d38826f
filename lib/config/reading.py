"""Which images are used, how they are read, and in which order."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lib.config.paths import is_uri
from lib.config.section import Count, Fraction, Section, Weight

Sampling = Literal["uniform", "class_balanced", "weighted"]


class RootSection(Section):
    """Which images."""

    root: str = Field(examples=["runs/datasets/digits", "s3://bucket/photos"])
    """Dataset written by jobs/pack.py: a folder, or the URI of a copy (http://, https://, s3://, gs://)."""


class LoadingSection(Section):
    """How images are read."""

    threads: Annotated[int, Field(ge=0)] = 0
    """Decoding threads per worker; 0 takes one per core of the worker."""
    max_pixels: Count = 178_956_970
    """Images with more pixels than this are refused before they are decoded."""
    prefetch_mb: Annotated[float, Field(ge=0)] = 64.0
    """Decoded images that wait for the next steps, per worker."""
    max_bad_fraction: Fraction = 0.01
    """Images that cannot be used are replaced in training, left out of measuring and listed in
    quarantine.jsonl; more than this share of a split ends the run."""
    cache_gb: Annotated[float, Field(ge=0)] = 20.0
    """Local disk of each node for the shards of a remote dataset, in gigabytes; 0 keeps none."""
    cache_dir: str | None = None
    """Where they are kept; by default shards/ in $MANTA_CACHE, or in ~/.cache/manta."""


class ReadingSection(LoadingSection, RootSection):
    """Which images, and how they are read."""


class DataSection(ReadingSection):
    """Which images, how they are read, and in which order."""

    source: str | None = None
    """Where to pack `data.root` from when it does not exist yet; the same words as jobs/pack.py source=."""
    train_images: Count | None = Field(default=None, examples=[500])
    """Train on so many images only, as many of each class as there are, drawn by run.seed; null takes all.
    Other splits stay whole. What would a model be worth with less data?"""
    shuffle_window_shards: Count = 16
    """Samples are shuffled within a window of this many shards; the shards themselves are shuffled too."""
    sampling: Sampling = "uniform"
    """uniform takes every training image once per epoch; class_balanced draws each class equally often,
    weighted as data.class_weights says, in as many draws as there are images. Evaluation takes each once."""
    class_weights: dict[str, Weight] = Field(default={})
    """weighted: how often an image of a class is drawn, relative to the others; 1 for those not named."""

    @model_validator(mode="after")
    def _packs_locally(self) -> Self:
        if self.source is not None and is_uri(self.root):
            raise ValueError(
                "data.source is packed into a local folder, and data.root is a URI; leave one out"
            )
        return self

    @model_validator(mode="after")
    def _draws_once(self) -> Self:
        if self.train_images is not None and self.sampling != "uniform":
            raise ValueError(
                f"data.train_images takes as many images of each class, and data.sampling={self.sampling} "
                "changes how often they come; choose one"
            )
        return self
