"""`dataset.json`: the classes, the splits and the shards of a dataset, with a checksum of each.

manifest = read_manifest("s3://bucket/photos")
manifest.splits["train"].counts      # samples of each shard
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lib.data import storage
from lib.errors import UserError
from lib.files import parse_model

FORMAT: Literal[1] = 1
MANIFEST = "dataset.json"
INDEX = "index.parquet"


class Shard(BaseModel):
    """One tar file; `path` is relative to the dataset, or absolute, or a URI."""

    model_config = ConfigDict(frozen=True)

    path: str
    num_samples: int
    size_bytes: int
    sha256: str


class Split(BaseModel):
    """The shards of one split."""

    model_config = ConfigDict(frozen=True)

    num_samples: int
    shards: list[Shard]
    rows_sha256: str | None = None
    """Checksum of shard, offset and label of each sample (`index.row_bytes`), where the shards are somebody
    else's and do not say which samples are meant, nor which class a label is."""

    @property
    def counts(self) -> list[int]:
        """Samples of each shard."""
        return [shard.num_samples for shard in self.shards]


class Manifest(BaseModel):
    """Contents of `dataset.json`."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = FORMAT
    classes: list[str]
    splits: dict[str, Split]
    source: str
    digest: str
    channels: Literal[1, 3] = 3
    """1 when every picture was grey."""


def digest_of(classes: list[str], splits: dict[str, Split]) -> str:
    """Identify the content of a dataset: its classes and the checksums of its shards, in order.

    For shards of somebody else, of their rows in the index too: those carry the labels, and the choice.
    """
    content: dict[str, Any] = {
        name: [s.sha256 for s in split.shards] + ([split.rows_sha256] if split.rows_sha256 else [])
        for name, split in splits.items()
    }
    return hashlib.sha256(json.dumps([classes, content], sort_keys=True).encode()).hexdigest()


def read_manifest(root: str) -> Manifest:
    """Read `dataset.json` of a dataset, by its location.

    Raises `UserError` if it is missing, is no dataset, has an unknown format or may not be read, `RunError`
    if a server does not deliver.
    """
    location = storage.join(root, MANIFEST)
    where = storage.public(location)
    try:
        data = storage.read_file(location)
    except storage.NotFound:
        problem, hint = f"{storage.public(root)} is not a dataset: it has no {MANIFEST}", "check the address"
        if storage.is_local(root):
            hint = f"pack one: python jobs/pack.py source=imagefolder:DIR out={root}"
            if not Path(storage.local_path(root)).exists():
                problem = f"{root} is not a dataset: no such folder"
        raise UserError(problem, hint) from None
    return parse_model(data, Manifest, "pack the dataset again", where=where)
