"""Tars made by hand, for tests of what other people's tars hold."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

FORMATS = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT}


def write_tar(path: Path, files: Iterable[tuple[str, bytes]], kind: str = "pax") -> Path:
    """Write (name, content) pairs in their order; a name may occur twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=FORMATS[kind]) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path
