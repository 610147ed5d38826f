"""What packing and checking a dataset may be told; as `lib.config.schema` for the other jobs.

PackConfig(source="imagefolder:photos", out="runs/datasets/photos").split.val
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lib.config.section import Auto, Count, Fraction, Section
from lib.config.tracking import JobTrackSection

ShardLabel = Literal["auto", "cls", "txt", "json"]


class SplitSection(Section):
    """Shares held back from training, drawn class by class."""

    val: Fraction = 0.1
    """Share of each class for validation (choosing the best epoch)."""
    test: Fraction = 0.1
    """Share of each class for the final measurement."""

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError(f"split.val={self.val:g} and split.test={self.test:g} leave nothing to train on")
        return self


class CsvSection(Section):
    """Columns of a csv: source."""

    image_column: str = "image"
    """Column with the path of the image, absolute or relative to the CSV."""
    label_column: str = "label"
    """Column with the name of the class."""
    split_column: str | None = None
    """Column that says train, val or test; by default the split is drawn."""


class ShardsSection(Section):
    """Labels of a shards: source."""

    classes: str | None = Field(default=None, examples=["classes.txt"])
    """File with the names of the classes in the order of their numbers: one a line, or a JSON list. By
    default they are the names that occur, sorted; where labels are numbers, these."""
    label: ShardLabel = "auto"
    """Member that holds the label: cls (a number), txt (a number or the name of a class), json. auto takes
    the first of them that the shards have."""
    json_key: str = "label"
    """json: the key of the label, a number or the name of a class."""


class PackConfig(Section):
    """Pack labelled images into a dataset of WebDataset shards with an index."""

    source: str = Field(examples=["imagefolder:photos"])
    """imagefolder:DIR (DIR/class/*.jpg, or DIR/train/class/*.jpg …), csv:FILE, digits,
    torchvision:NAME:ROOT, or shards:GLOB (anybody's WebDataset tars, indexed where they lie: local, or a URI;
    {000000..000012} counts, :: joins several)."""
    out: str = Field(examples=["runs/datasets/photos"])
    """Dataset folder to write; must not exist."""
    resize: Count | None = None
    """Store images with their shorter side at most this long; by default their bytes are kept."""
    shard_size_mb: Annotated[float, Field(gt=0)] = 64.0
    """Size of a shard, about."""
    split: SplitSection = SplitSection()
    """Ignored for splits that the source already has."""
    csv: CsvSection = CsvSection()
    shards: ShardsSection = ShardsSection()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the split and of the order within shards."""
    num_workers: Annotated[int, Field(ge=0)] | Auto = "auto"
    """Ray tasks at a time; 0 packs in this process, auto does so for small sources. The bytes are equal."""
    max_bad_fraction: Fraction = 0.01
    """More unreadable images than this share end the job; fewer are left out and listed in
    quarantine.jsonl."""
    max_pixels: Count = 178_956_970
    """Images with more pixels than this count as unreadable."""
    track: JobTrackSection = JobTrackSection()

    @model_validator(mode="after")
    def _fits_the_source(self) -> Self:
        is_shards = self.source.startswith("shards:")
        if is_shards:
            for key in ("resize", "shard_size_mb"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key} cannot be used with source=shards: they are indexed as they are")
        elif self.shards != ShardsSection():
            raise ValueError("shards.classes, shards.label and shards.json_key need source=shards:GLOB")
        return self


class CheckConfig(Section):
    """Verify a dataset, and say what is in it."""

    root: str = Field(examples=["runs/datasets/photos"])
    """Dataset folder; `check DATASET` is short for `check root=DATASET`."""
    decode: bool = False
    """Decode every image as well, which takes several times as long. Packing has done so for images that it
    stored, and their bytes are checked anyway; shards indexed in place have not been decoded yet."""
    max_pixels: Count = 178_956_970
    """Images with more pixels than this count as unusable."""
    num_workers: Annotated[int, Field(ge=0)] | Auto = "auto"
    """Ray tasks at a time; 0 checks in this process, auto does so for small datasets."""
