"""Datasets written by hand, with anything in them that packing would not write."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lib.data.index import SCHEMA, checksum
from lib.data.manifest import INDEX, MANIFEST, Manifest, Shard, Split, digest_of
from tests.lib.data.tars import write_tar


class Sample(NamedTuple):
    """A sample of a hand-made shard; `said` is the text of its label, by default the number."""

    key: str
    data: bytes
    label: int = 0
    said: str | None = None


def write_dataset(root: Path, splits: Mapping[str, Sequence[Sequence[Sample]]]) -> Path:
    """Write tars, indexes and manifest of splits, each a list of shards; classes are a, b and c."""
    written = {}
    for split, shards in splits.items():
        (root / split).mkdir(parents=True)
        rows, entries = [], []
        for number, samples in enumerate(shards):
            path = f"{split}/{split}-{number:06d}.tar"
            rows += [{"shard": number, **row} for row in _write_shard(root / path, samples)]
            entries.append(entry(root / path, path, len(samples)))
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), root / split / INDEX)
        written[split] = Split(num_samples=len(rows), shards=entries)
    write_manifest(root, written)
    return root


def entry(path: Path, name: str, num_samples: int) -> Shard:
    """Describe a shard as it is now."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Shard(path=name, num_samples=num_samples, size_bytes=len(content), sha256=digest)


def write_manifest(root: Path, splits: dict[str, Split]) -> None:
    """Write a manifest that is right for these splits."""
    classes = ["a", "b", "c"]
    digest = digest_of(classes, splits)
    manifest = Manifest(classes=classes, splits=splits, source="test", digest=digest)
    (root / MANIFEST).write_text(manifest.model_dump_json())


def refresh(root: Path) -> None:
    """Make sizes and checksums of shards in the manifest those of the shards as they are now."""
    manifest = Manifest.model_validate_json((root / MANIFEST).read_text())
    splits = {}
    for name, split in manifest.splits.items():
        shards = [entry(root / shard.path, shard.path, shard.num_samples) for shard in split.shards]
        splits[name] = Split(num_samples=split.num_samples, shards=shards)
    changes = {"splits": splits, "digest": digest_of(manifest.classes, splits)}
    (root / MANIFEST).write_text(manifest.model_copy(update=changes).model_dump_json())


def edit_manifest(root: Path, **changes: object) -> None:
    """Replace values of the manifest."""
    values = json.loads((root / MANIFEST).read_text())
    (root / MANIFEST).write_text(json.dumps(values | changes))


def _write_shard(path: Path, samples: Sequence[Sample]) -> list[dict[str, object]]:
    files = []
    for sample in samples:
        said = str(sample.label) if sample.said is None else sample.said
        files += [(f"{sample.key}.png", sample.data), (f"{sample.key}.cls", said.encode())]
    write_tar(path, files)
    with tarfile.open(path) as tar:
        offsets = [member.offset_data for member in tar if member.name.endswith("png")]
    return [
        {
            "key": sample.key,
            "label": sample.label,
            "offset": offset,
            "size_bytes": len(sample.data),
            "checksum": checksum(sample.data),
            **_size(sample.data),
        }
        for sample, offset in zip(samples, offsets, strict=True)
    ]


def _size(data: bytes) -> dict[str, int]:
    try:
        width, height = Image.open(io.BytesIO(data)).size
    except OSError:
        width = height = 1
    return {"width": width, "height": height}
