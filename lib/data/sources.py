"""Where images come from: a folder of classes, a CSV, scikit-learn's digits, a torchvision dataset.

    source = open_source("imagefolder:photos", CsvSection())
    source.classes, source.items[0].label
    data, extension = source.read(0)

A source lists its items at once (paths and labels, no pixels) and reads one by its number, in any process.
"""

import csv
import inspect
import io
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from lib.config.packing import CsvSection
from lib.config.paths import input_path
from lib.errors import UserError
from lib.images.decode import EXTENSIONS

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True, slots=True)
class Item:
    """A picture of a source: its key, its label, its size as far as known, and its split if it has one."""

    key: str
    label: int
    size_bytes: int
    split: str | None = None


@dataclass(frozen=True)
class Source:
    """Labelled pictures; `read(n)` returns the bytes of item n and their file extension."""

    name: str
    classes: list[str]
    items: list[Item]
    read: Callable[[int], tuple[bytes, str]] = field(repr=False)


def open_source(words: str, columns: CsvSection) -> Source:
    """Open a source by its words, KIND or KIND:WHERE.

    Raises `UserError` if the kind is unknown, the place is missing or holds no labelled pictures.
    """
    kind, _, where = words.partition(":")
    if kind == "csv":
        return _csv(where, columns)
    if kind not in SOURCES:
        known = "imagefolder:DIR, csv:FILE, digits, torchvision:NAME:ROOT, shards:GLOB"
        raise UserError(f"source={words} is not a source", f"choose one of {known}")
    return SOURCES[kind](where)


@dataclass(frozen=True)
class _Files:
    """Reads pictures from files; the paths are a column that Ray tasks of a machine share without copies."""

    paths: pa.Array

    @classmethod
    def of(cls, paths: list[str]) -> "_Files":
        # Names of files are bytes; not all of them are text.
        return cls(pa.array(map(os.fsencode, paths), pa.large_binary()))

    def __call__(self, number: int) -> tuple[bytes, str]:
        path = Path(os.fsdecode(self.paths[number].as_py()))
        return path.read_bytes(), path.suffix.lower().lstrip(".")


@dataclass(frozen=True)
class _Pictures:
    """Reads pictures from anything that gives a PIL image by number, as PNG."""

    get: Callable[[int], Image.Image]

    def __call__(self, number: int) -> tuple[bytes, str]:
        stream = io.BytesIO()
        self.get(number).save(stream, "PNG")
        return stream.getvalue(), "png"


@dataclass(frozen=True)
class _ArrayPicture:
    arrays: NDArray[np.uint8]

    def __call__(self, number: int) -> Image.Image:
        return Image.fromarray(self.arrays[number])


@dataclass(frozen=True)
class _DatasetPicture:
    parts: list[Any]

    def __call__(self, number: int) -> Image.Image:
        for part in self.parts:
            if number < len(part):
                return cast(Image.Image, part[number][0])
            number -= len(part)
        raise IndexError(number)


def _imagefolder(where: str) -> Source:
    root = input_path(where)
    if not where or not root.is_dir():
        raise UserError(f"source=imagefolder:{where}: no such folder: {root}", "give a folder of classes")
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    has_splits = bool(folders) and all(p.name.lower() in SPLIT_NAMES for p in folders)
    parts = [(SPLIT_NAMES[p.name.lower()], p) for p in folders] if has_splits else [(None, root)]
    classes = sorted({p.name for _, part in parts for p in part.iterdir() if p.is_dir() and p.name[0] != "."})
    if not classes:
        hint = "expected DIR/class/*.jpg, or DIR/train/class/*.jpg"
        raise UserError(f"source=imagefolder:{where}: no class folders in {root}", hint)
    items, paths = [], []
    for split, part in parts:
        for label, name in enumerate(classes):
            for path in sorted((part / name).rglob("*")):
                # Hidden: what macOS, Jupyter and others leave beside pictures.
                is_hidden = any(name.startswith(".") for name in path.relative_to(part).parts)
                is_file = path.is_file()
                # A link to nothing is listed too, so that it is reported as unreadable.
                if path.suffix.lower() in EXTENSIONS and not is_hidden and (is_file or path.is_symlink()):
                    key = path.relative_to(root).with_suffix("").as_posix()
                    items.append(Item(key, label, path.stat().st_size if is_file else 0, split))
                    paths.append(str(path))
    return _checked(Source(f"imagefolder:{root}", classes, items, _Files.of(paths)))


def _csv(where: str, columns: CsvSection) -> Source:
    path = input_path(where)
    if not where or not path.is_file():
        raise UserError(f"source=csv:{where}: no such file: {path}", "give a CSV with a header line")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            table = csv.DictReader(stream, skipinitialspace=True)
            header, lines = list(table.fieldnames or []), list(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"source=csv:{where}: {error}", "save it as CSV in UTF-8") from None
    for key in ("image_column", "label_column", "split_column"):
        column = getattr(columns, key)
        if column is not None and column not in header:
            hint = f"its columns are {', '.join(header) or 'none'}; choose with csv.{key}=NAME"
            raise UserError(f"source=csv:{where}: no column {column!r}", hint)
    missing, items, paths = [], [], []
    given = [(line[columns.label_column] or "").strip() for line in lines]
    classes = sorted(set(given))
    if "" in classes:
        row = 2 + given.index("")
        raise UserError(f"source=csv:{where}: line {row} has no label in column {columns.label_column!r}")
    labels = {name: label for label, name in enumerate(classes)}
    for line, label in zip(lines, given, strict=True):
        name = line[columns.image_column] or ""
        picture = path.parent / name
        if "\\" in name and not picture.is_file():  # written on Windows
            name = name.replace("\\", "/")
            picture = path.parent / name
        if not picture.is_file():
            missing.append(name)
            continue
        split = None
        if columns.split_column is not None:
            part = (line[columns.split_column] or "").strip()
            split = SPLIT_NAMES.get(part.lower())
            if split is None:
                hint = "a split is train, val or test"
                raise UserError(f"source=csv:{where}: {name} has the split {part!r}", hint)
        key = Path(name).with_suffix("").as_posix().lstrip("/")
        items.append(Item(key, labels[label], picture.stat().st_size, split))
        paths.append(str(picture))
    if missing:
        shown = "\n".join(missing[:5] + (["…"] if len(missing) > 5 else []))
        raise UserError(f"source=csv:{where}: {len(missing)} images do not exist", shown)
    return _checked(Source(f"csv:{path}", classes, items, _Files.of(paths)))


def _digits(where: str) -> Source:
    if where:
        raise UserError(f"source=digits:{where}: digits takes no place", "type source=digits")
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Sixteen grey levels, 0 … 16, spread over 8 bits.
    arrays = (digits.images * (255 / 16)).round().astype(np.uint8)
    items = [Item(f"{n:05d}", int(label), arrays[n].nbytes) for n, label in enumerate(digits.target)]
    return Source("digits", [str(n) for n in range(10)], items, _Pictures(_ArrayPicture(arrays)))


def _torchvision(where: str) -> Source:
    from torchvision import datasets

    name, _, place = where.partition(":")
    words = f"source=torchvision:{where}"
    cls = getattr(datasets, name, None) if name.isidentifier() else None
    if not isinstance(cls, type):
        raise UserError(
            f"{words}: torchvision has no dataset {name!r}", "for example torchvision:FashionMNIST:ROOT"
        )
    if not place:
        raise UserError(f"{words}: no folder given", f"type source=torchvision:{name}:ROOT")
    takes = inspect.signature(cls).parameters
    if not {"train", "split"} & takes.keys() or "download" not in takes:
        hint = "pack its folder of images with source=imagefolder:DIR"
        raise UserError(f"{words}: {name} has no train and test part", hint)
    root, parts, items = input_path(place), [], []
    for split in ("train", "test"):
        choice = {"train": split == "train"} if "train" in takes else {"split": split}
        try:
            part = cls(str(root), download=False, **choice)
        except (RuntimeError, FileNotFoundError) as error:
            call = f"{name}('{root}', download=True, {', '.join(f'{k}={v!r}' for k, v in choice.items())})"
            hint = f'download it once: python -c "from torchvision.datasets import {name}; {call}"'
            raise UserError(f"{words}: {str(error).splitlines()[0]}", hint) from None
        labels = getattr(part, "targets", getattr(part, "labels", None))
        if labels is None or not hasattr(part, "data"):
            hint = "pack its folder of images with source=imagefolder:DIR"
            raise UserError(f"{words}: {name} keeps its images as files", hint)
        size = math.prod(part.data.shape[1:])
        items += [Item(f"{split}/{n:06d}", int(label), size, split) for n, label in enumerate(labels)]
        parts.append(part)
    names = getattr(parts[0], "classes", None) or range(1 + max(item.label for item in items))
    return _checked(
        Source(f"torchvision:{name}", list(map(str, names)), items, _Pictures(_DatasetPicture(parts)))
    )


SOURCES: dict[str, Callable[[str], Source]] = {
    "imagefolder": _imagefolder,
    "digits": _digits,
    "torchvision": _torchvision,
}


def _checked(source: Source) -> Source:
    """Refuse a source without pictures, with one class, or with a class without pictures or proper name."""
    if not source.items:
        raise UserError(f"source={source.name} has no images", f"extensions read: {' '.join(EXTENSIONS)}")
    garbled = [name for name in source.classes if name != name.encode(errors="replace").decode()]
    if garbled:
        problem = f"source={source.name}: the name of class {garbled[0]!a} is not UTF-8"
        raise UserError(problem, "rename the folder")
    present = {item.label for item in source.items}
    empty = [name for label, name in enumerate(source.classes) if label not in present]
    if empty:
        hint = "add images, or remove the folder"
        raise UserError(f"source={source.name}: no images of class {', '.join(empty[:10])}", hint)
    if len(source.classes) < 2:
        raise UserError(
            f"source={source.name} has one class, {source.classes[0]!r}", "at least two are needed"
        )
    return source
