"""Results appear when they are complete: a crash or a full disk leaves the old file, or nothing.

write_text(folder / "result.json", json.dumps(result))
"""

import json
import tempfile
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from lib.errors import RunError, UserError

T = TypeVar("T", bound=BaseModel)


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place and rename it; raises `RunError` if the disk refuses."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file as `write_text` does."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}", "the old one is kept; make room") from None


def read_model(path: Path, model: type[T], hint: str) -> T:
    """Read a JSON file; raises as `parse_model` does."""
    return parse_model(path.read_bytes(), model, hint, where=str(path))


def parse_model(data: bytes, model: type[T], hint: str, *, where: str) -> T:
    """Parse JSON that carries a `format`, the one that is the default of the model's field.

    Raises `UserError` with `hint` if it is not JSON, has another format, or is damaged.
    """
    known = model.model_fields["format"].default
    try:
        values = json.loads(data.decode("utf-8"))
    except ValueError as error:
        raise UserError(f"{where} is not JSON: {error}", hint) from None
    found = values.get("format") if isinstance(values, dict) else None
    if found != known:
        newer = f"use the version of manta that wrote it, or {hint}"
        raise UserError(f"{where} has format {found!r}; this version reads format {known}", newer)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(f"{where} is damaged: {field}: {first['msg']}", hint) from None


def make_folder(path: Path) -> None:
    """Create a folder for results, and its parents; raises `UserError` if that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot create the folder {path}: {error.strerror}", "choose another place"
        ) from None


def make_partial(target: Path) -> Path:
    """Create a hidden folder beside `target`, to be filled and then renamed to it.

    Raises `UserError` if that cannot be.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    except OSError as error:
        raise UserError(
            f"cannot write in {target.parent}: {error.strerror}", "choose another place"
        ) from None
    folder.chmod(0o755)  # mkdtemp's own 0700 would hide it from others
    return folder
