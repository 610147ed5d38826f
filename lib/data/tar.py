"""What a tar holds and where: members under WebDataset's keys, by offset, and no end that is none.

    found = scan(path)
    member = found.samples["n01/0017"]["jpg"]
    with path.open("rb") as file:
        data = read_member(file, member)

The key is the path up to the first dot of the file name, the rest in lower case is the extension; members of
one key need not be neighbours. Skipped, as WebDataset does: folders and devices, names without key or
extension, and metadata (a first part of the path, or an extension, in double underscores). Python's tarfile
takes a damaged header for the end of the archive: here what follows the last member must be zero.
"""

import re
import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, NoReturn

from lib.errors import RunError

_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)
_METADATA = re.compile(r"__[^/]*__(/|$)", re.DOTALL)

# What tarfile raises for broken headers; numbers in them can be anything.
_BROKEN = (tarfile.TarError, ValueError, OverflowError)

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"\x04\x22\x4d\x18": "lz4",
}

# Writers fill up the last record, of 10 KiB by default; more zeros are a download that was not finished.
_MOST_PADDING_BYTES = 1 << 20


class DamagedTar(RunError):
    """A tar that cannot be read to its end, or not by offset; `reason` is the problem without the path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be used: {reason}", "write the file anew, or fetch it again")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar: its bytes are [offset, offset + size_bytes)."""

    name: str
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class Scan:
    """The members of a tar by key and extension; keys are in the order of their first member."""

    samples: dict[str, dict[str, Member]] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)
    """Names whose key and extension had come before; the first one is in `samples`."""
    links: list[str] = field(default_factory=list)
    """Names that stand for other files, hard or symbolic: they have no bytes of their own here."""
    has_end: bool = True
    """False if the file stops after a member, without an end marker: more may have been meant to follow."""


def scan(path: Path) -> Scan:
    """List the members of a plain tar: GNU, PAX, ustar or v7.

    Raises `DamagedTar` if it is empty, compressed or no tar, if a header is damaged or a member cut off, if
    anything but zeros follows the end, and for a file stored as sparse.
    """
    found = Scan()
    with path.open("rb") as file:
        tar = _open(path, file)
        count = 0
        while (member := _next(path, tar, count)) is not None:
            count += 1
            _add(found, member)
        padding = _padding(path, file, tar.offset, count)
    return replace(found, has_end=padding > 0)


def read_member(file: BinaryIO, member: Member) -> bytes:
    """Return the bytes of a member of an open tar."""
    file.seek(member.offset)
    return file.read(member.size_bytes)


def split_name(name: str) -> tuple[str, str] | None:
    """Return key and extension of a member, or None if WebDataset would skip it."""
    match = _NAME.fullmatch(name)
    if match is None or _METADATA.match(name):
        return None
    key, extension = match.groups()
    if extension.startswith("__") and extension.endswith("__"):
        return None
    return _text(key), _text(extension.lower())


def _text(name: str) -> str:
    # Names are bytes; those that are no UTF-8 arrive with surrogates, which no file of ours could hold.
    return name.encode(errors="backslashreplace").decode()


def _add(found: Scan, member: tarfile.TarInfo) -> None:
    parts, name = split_name(member.name), _text(member.name)
    if parts is None:
        return
    key, extension = parts
    if member.islnk() or member.issym():
        found.links.append(name)
    elif member.isreg():
        sample = found.samples.setdefault(key, {})
        if extension in sample:
            found.repeated.append(name)
        else:
            sample[extension] = Member(name, member.offset_data, member.size)


def _open(path: Path, file: BinaryIO) -> tarfile.TarFile:
    start = file.read(8)
    if not start:
        raise DamagedTar(path, "it is empty (0 bytes)")
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            raise DamagedTar(path, f"it is compressed ({name}); samples are read by offset: unpack it first")
    file.seek(0)
    try:
        return tarfile.TarFile(fileobj=file, encoding="utf-8", errors="surrogateescape")
    except _BROKEN as error:
        raise DamagedTar(path, f"it is no tar, or its first header is damaged: {error}") from None


def _next(path: Path, tar: tarfile.TarFile, count: int) -> tarfile.TarInfo | None:
    try:
        member = tar.next()
    except _BROKEN as error:
        raise DamagedTar(path, f"at byte {tar.offset:,}, after {count:,} members: {error}") from None
    if member is None:
        return None
    tar.members = []  # type: ignore[attr-defined]  # it would keep all of them
    # A size can be negative, too: tarfile would run in circles.
    if not member.offset < tar.offset <= path.stat().st_size:
        where = f"at byte {member.offset:,}, after {count:,} members"
        raise DamagedTar(path, f"{_text(member.name)}, {where}, is cut off")
    if member.issparse():
        raise DamagedTar(path, f"{_text(member.name)} is stored as sparse: write the tar without that")
    return member


def _padding(path: Path, file: BinaryIO, end: int, count: int) -> int:
    """Return how many zero bytes follow the last member; nothing else may."""
    file.seek(end)
    place = end
    while block := file.read(1 << 16):
        rest = block.lstrip(b"\0")
        if rest:
            _refuse_rest(path, end, place + len(block) - len(rest), count)
        place += len(block)
    if place - end > _MOST_PADDING_BYTES:
        reason = f"its last {place - end:,} bytes, after {count:,} members, are zero: not all was downloaded"
        raise DamagedTar(path, reason)
    return place - end


def _refuse_rest(path: Path, end: int, other: int, count: int) -> NoReturn:
    if other < end + tarfile.BLOCKSIZE:
        raise DamagedTar(path, f"the header at byte {end:,}, after {count:,} members, is damaged")
    reason = (
        f"it ends at byte {end:,}, after {count:,} members, but more data follows at byte {other:,}: "
        "it is damaged, or several tars in one file"
    )
    raise DamagedTar(path, reason)
