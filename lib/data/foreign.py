"""One shard of somebody else's WebDataset, read where it lies: where its samples are, and what is no sample.

found = read_shard("https://host/train-000000.tar", label="auto", json_key="label", max_pixels=MAX_PIXELS)
found.samples        # a table: key, number or name of the label, offset, size_bytes, checksum, width, height
found.bad            # what cannot be indexed, each with its reason
found.damage         # why the whole file cannot

A picture's type and size are read from its header. Pixels are not decoded: the loader finds what is broken.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from lib.data.index import checksum
from lib.data.quarantine import Bad
from lib.data.storage import local_copy, public
from lib.data.tar import DamagedTar, Member, Scan, read_member, scan, split_name
from lib.images.decode import ImageError, is_grey, open_image

PICTURES = ("jpg", "jpeg", "png", "webp")
LABELS = ("cls", "txt", "json")

SAMPLES = pa.schema(
    [
        ("key", pa.string()),
        ("number", pa.int32()),
        ("name", pa.string()),
        ("offset", pa.int64()),
        ("size_bytes", pa.int32()),
        ("checksum", pa.uint64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)

# Longer text is a caption, not the name of a class.
_LONGEST_NAME = 200
_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class ForeignShard:
    """What one tar holds; of a damaged one only the reason is known."""

    location: str
    damage: str | None = None
    size_bytes: int = 0
    sha256: str = ""
    label: str | None = None
    """Extension of the members that hold the labels; None if there are none."""
    samples: pa.Table = field(default_factory=SAMPLES.empty_table)
    """Columns of `SAMPLES`, in the order of the tar; a label is a number or a name, the other is null."""
    grey: bool = True
    bad: tuple[Bad, ...] = ()
    has_end: bool = True


class _Refused(Exception):
    """Why a sample cannot be indexed."""


def read_shard(location: str, *, label: str, json_key: str, max_pixels: int) -> ForeignShard:
    """Index the samples of one tar; what is wrong with it is part of the answer.

    Raises what `local_copy` raises if the tar cannot be fetched.
    """
    with local_copy(location) as path:
        try:
            return _read(location, path, label, json_key, max_pixels)
        except DamagedTar as error:
            return ForeignShard(location, damage=error.reason)
        except OSError as error:
            return ForeignShard(location, damage=f"it cannot be read: {error.strerror or error}")


def _read(location: str, path: Path, label: str, json_key: str, max_pixels: int) -> ForeignShard:
    found, where = scan(path), public(location)
    kind = _kind(found, label)
    linked = {_key(name): name for name in found.links if _extension(name) in (*PICTURES, kind)}
    rows: list[dict[str, Any]] = []
    bad, grey = [], True
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        for key, members in found.samples.items():
            if key in linked or not _is_sample(key, members):
                continue
            try:
                picture = _picture(members)
                named = _label(file, members, kind, json_key)
                data = read_member(file, picture)
                image = open_image(data, max_pixels)
            except _Refused as refused:
                bad.append(Bad(key, f"{refused} ({where})"))
                continue
            except ImageError as error:
                bad.append(Bad(key, f"{error.problem} ({where})"))
                continue
            grey = grey and is_grey(image)
            width, height = image.size
            rows.append(
                {
                    "key": key,
                    "number": named if isinstance(named, int) else None,
                    "name": named if isinstance(named, str) else None,
                    "offset": picture.offset,
                    "size_bytes": picture.size_bytes,
                    "checksum": checksum(data),
                    "width": width,
                    "height": height,
                }
            )
    bad += [Bad(key, f"{name} is a link to another file ({where})") for key, name in linked.items()]
    twice = {_key(name): name for name in found.repeated}
    bad += [Bad(key, f"{name} comes twice, the first is used ({where})") for key, name in twice.items()]
    return ForeignShard(
        location,
        size_bytes=path.stat().st_size,
        sha256=sha256,
        label=kind,
        samples=pa.Table.from_pylist(sorted(rows, key=lambda row: row["offset"]), schema=SAMPLES),
        grey=grey,
        bad=tuple(bad),
        has_end=found.has_end,
    )


def _kind(found: Scan, label: str) -> str | None:
    """Return the extension that labels have in this shard."""
    if label != "auto":
        return label
    pictures = [members for members in found.samples.values() if not members.keys().isdisjoint(PICTURES)]
    return next((kind for kind in LABELS if any(kind in members for members in pictures)), None)


def _is_sample(key: str, members: dict[str, Member]) -> bool:
    """Tell a sample, complete or not, from files that lie beside the samples: notes, lists, metadata."""
    if not members.keys().isdisjoint(PICTURES):
        return True
    name = key.rpartition("/")[2]
    is_metadata = name.startswith("__") and name.endswith("__")
    return not is_metadata and not members.keys().isdisjoint(LABELS)


def _picture(members: dict[str, Member]) -> Member:
    pictures = [extension for extension in PICTURES if extension in members]
    if not pictures:
        raise _Refused(f"no picture: it has {', '.join(members)}; pictures are {', '.join(PICTURES)}")
    if len(pictures) > 1:
        raise _Refused(f"{len(pictures)} pictures: {', '.join(pictures)}")
    picture = members[pictures[0]]
    if picture.size_bytes > _LARGEST:
        raise _Refused(f"the picture has {picture.size_bytes:,} bytes; at most {_LARGEST:,} are allowed")
    return picture


def _label(file: BinaryIO, members: dict[str, Member], kind: str | None, json_key: str) -> int | str:
    """Return the number or the text that a sample is labelled with."""
    if kind not in members:
        known = ", ".join(members)
        raise _Refused(f"no label: it has {known} and no {kind or ', '.join(LABELS)}")
    text = _text(kind, read_member(file, members[kind]))
    if kind == "cls":
        if not re.fullmatch(r"[+-]?[0-9]+", text):
            raise _Refused(f"cls is not a whole number: {_shown(text)}")
        return _number(int(text[:20]))
    if kind == "txt":
        return _name(kind, text)
    try:
        values = json.loads(text)
    except ValueError as error:
        raise _Refused(f"json is damaged: {error}") from None
    if not isinstance(values, dict) or json_key not in values:
        raise _Refused(f"json has no key {json_key!r}")
    value = values[json_key]
    if isinstance(value, str):
        return _name(f"json key {json_key!r}", value.strip())
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Refused(f"json key {json_key!r} is neither a whole number nor text: {_shown(repr(value))}")
    return _number(value)


def _text(kind: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise _Refused(f"{kind} is not UTF-8: it starts with {data[:12]!r}") from None


def _number(value: int) -> int:
    if not 0 <= value < _LARGEST:
        raise _Refused(f"label {value} is out of range")
    return value


def _name(what: str, text: str) -> str:
    if not text or not text.isprintable() or len(text) > _LONGEST_NAME:
        raise _Refused(f"{what} is no name of a class: {_shown(text)}")
    return text


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def _key(name: str) -> str:
    parts = split_name(name)
    assert parts is not None, name
    return parts[0]


def _extension(name: str) -> str:
    parts = split_name(name)
    assert parts is not None, name
    return parts[1]
