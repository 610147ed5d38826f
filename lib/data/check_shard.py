"""Hold one shard against the manifest and the index: the file, the tar's members, every picture.

found = check_shard(task, num_classes=10, max_pixels=MAX_PIXELS, full_decode=False)
found.problems.lines()

A task and what it returns are plain data, so that it runs in this process or as a Ray task. One picture at a
time is in memory.
"""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from lib.data.foreign import PICTURES
from lib.data.index import LABEL_EXTENSION, checksum
from lib.data.manifest import Shard
from lib.data.problems import Problems
from lib.data.storage import local_copy, public
from lib.data.tar import DamagedTar, read_member, scan
from lib.errors import MantaError
from lib.images.decode import ImageError, decode, open_image


@dataclass(frozen=True)
class ShardTask:
    """A shard of a split, and the rows that the index has for it (None if the index cannot be read)."""

    split: str
    shard: Shard
    location: str
    rows: pa.Table | None
    is_whole: bool
    """Every sample of the tar must be in the index; not so where splits share a shard."""
    is_first: bool
    """The file as such has not been checked for another split."""


@dataclass(frozen=True)
class Found:
    """What came of a shard: problems, formats of the pictures, and a hash of each key, by row."""

    split: str
    problems: Problems = field(default_factory=Problems)
    formats: Counter[str] = field(default_factory=Counter)
    key_hashes: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))


class Member(NamedTuple):
    """A picture of a tar and, where it is a whole number, the label that lies beside it."""

    key: str
    size_bytes: int
    label: int | None


def check_shard(task: ShardTask, *, num_classes: int, max_pixels: int, full_decode: bool) -> Found:
    """Check a shard; with `full_decode`, every picture is decoded as well."""
    found = Found(task.split)
    rows = [] if task.rows is None else task.rows.to_pylist()
    name, add = public(task.shard.path), found.problems.add
    if task.rows is not None and len(rows) != task.shard.num_samples:
        problem = f"dataset.json says {task.shard.num_samples:,}, the index lists {len(rows):,}"
        add("numbers of samples that differ", f"{name}: {problem}")
    for row in rows:
        if not 0 <= row["label"] < num_classes:
            add("labels out of range", f"{name}: {row['key']}: {row['label']} of {num_classes} classes")
    try:
        with local_copy(task.location) as path:
            if task.is_first:
                _check_file(name, path, task.shard, found.problems)
            _check_pictures(name, path, rows, max_pixels, full_decode, found)
            _check_members(name, path, task, rows, found.problems)
    except OSError as error:
        add("shards that cannot be read", f"{name}: {error.strerror}")
    except MantaError as error:
        add("shards that cannot be read", f"{name}: {error.problem}")
    # A key names a sample within the shards of its writer; two shards of somebody else may use it each.
    space = "" if task.is_whole else f"{task.location}/"
    hashes = [xxhash.xxh3_64_intdigest(f"{space}{row['key']}".encode()) for row in rows]
    return Found(task.split, found.problems, found.formats, np.array(hashes, np.uint64))


def _check_file(name: str, path: Path, shard: Shard, problems: Problems) -> None:
    size = path.stat().st_size
    if size != shard.size_bytes:
        problem = f"{size:,} bytes, dataset.json says {shard.size_bytes:,}"
        problems.add("shards of another size", f"{name}: {problem}")
        return
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != shard.sha256:
        problem = f"sha256 {digest[:12]}…, dataset.json says {shard.sha256[:12]}…"
        problems.add("shards whose bytes have changed", f"{name}: {problem}")


def _check_pictures(
    name: str, path: Path, rows: list[dict[str, Any]], max_pixels: int, full_decode: bool, found: Found
) -> None:
    """Read each picture where the index has it."""
    with path.open("rb") as file:
        for row in rows:
            where = f"{name}: {row['key']}"
            data = os.pread(file.fileno(), row["size_bytes"], row["offset"])
            if len(data) != row["size_bytes"] or checksum(data) != row["checksum"]:
                found.problems.add("pictures whose bytes have changed", where)
                continue
            try:
                _check_picture(where, row, data, max_pixels, full_decode, found)
            except ImageError as error:
                found.problems.add("pictures that cannot be used", f"{where}: {error.problem}")


def _check_picture(
    where: str, row: dict[str, Any], data: bytes, max_pixels: int, full_decode: bool, found: Found
) -> None:
    image = open_image(data, max_pixels)
    found.formats[image.format or "?"] += 1
    if image.size != (row["width"], row["height"]):
        width, height = image.size
        problem = f"{width} x {height}, the index says {row['width']} x {row['height']}"
        found.problems.add("picture sizes that differ", f"{where}: {problem}")
    if full_decode:
        decode(data, 3, max_pixels)


def _check_members(
    name: str, path: Path, task: ShardTask, rows: list[dict[str, Any]], problems: Problems
) -> None:
    """Hold the rows of the index against the members of the tar, which are known by their offsets."""
    try:
        members, repeated = _members(path)
    except DamagedTar as error:
        problems.add("damaged tars", f"{name}: {error.reason}")
        return
    if task.rows is None:
        return
    for row in rows:
        member = members.pop(row["offset"], None)
        where = f"{name}: {row['key']}"
        if member is None or member.size_bytes != row["size_bytes"]:
            problem = f"no picture of {row['size_bytes']:,} bytes begins at byte {row['offset']:,}"
            problems.add("rows of the index without a picture", f"{where}: {problem}")
        elif member.key != row["key"]:
            problems.add("keys that differ", f"{where}: the tar says {member.key}")
        elif task.is_whole and member.label != row["label"]:
            said = "no number" if member.label is None else member.label
            problems.add("labels that differ", f"{where}: the tar says {said}, the index {row['label']}")
    if task.is_whole:
        for member in members.values():
            problems.add("pictures that the index does not list", f"{name}: {member.key}")
        for twice in repeated:
            problems.add("pictures that the index does not list", f"{name}: {twice}, a second time")


def _members(path: Path) -> tuple[dict[int, Member], list[str]]:
    """Return the pictures of a tar by the offset of their bytes, and the names of those it has twice."""
    found, members = scan(path), {}
    with path.open("rb") as file:
        for key, parts in found.samples.items():
            label = None
            if LABEL_EXTENSION in parts:
                text = read_member(file, parts[LABEL_EXTENSION]).strip()
                label = int(text) if text.isdigit() else None
            for extension in PICTURES:
                if extension in parts:
                    picture = parts[extension]
                    members[picture.offset] = Member(key, picture.size_bytes, label)
    return members, [name for name in found.repeated if name.lower().endswith(PICTURES)]
