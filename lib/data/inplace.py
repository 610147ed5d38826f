"""Index somebody else's shards where they lie: the dataset holds no picture, only where each of them is.

plan = plan_in_place(config, root)                               # finds the shards, reads none
content = index_in_place(config, plan, folder, run=map)          # writes SPLIT/index.parquet

Shards that are called by the name of a split belong to it; otherwise, splits are drawn class by class, and
several of them may list one shard, each with its own rows.
"""

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lib.config.packing import PackConfig, SplitSection
from lib.config.paths import data_location, input_path, is_uri
from lib.console import amount, say
from lib.data.classes import find_classes, read_classes
from lib.data.foreign import LABELS, PICTURES, ForeignShard, read_shard
from lib.data.index import SCHEMA, IndexWriter, row_bytes
from lib.data.manifest import INDEX, Shard, Split
from lib.data.packed import Content, RunAll, check_bad
from lib.data.quarantine import Bad
from lib.data.sources import SPLIT_NAMES
from lib.data.split import SPLITS, assign_splits, drawn_splits
from lib.data.storage import file_size, glob, public
from lib.errors import UserError

KIND = "shards:"

# Below this, starting Ray takes longer than reading.
_SMALL_BYTES = 2e9


@dataclass(frozen=True)
class ForeignPlan:
    """What indexing will do: known before a shard is read."""

    root: Path
    name: str
    shards: list[str]
    """Locations."""
    sizes: list[int]
    splits: list[str | None]
    """The split of each shard, or None for all."""
    shares: SplitSection
    classes: list[str] | None

    @property
    def is_small(self) -> bool:
        """One process is enough."""
        return sum(self.sizes) < _SMALL_BYTES

    @property
    def amount(self) -> str:
        """How much there is, in words."""
        return _amount(self.sizes)

    def lines(self) -> list[str]:
        """Describe the job for a person."""
        lines = [f"source    {self.name}: {self.amount}, indexed in place"]
        for split in SPLITS:
            sizes = [size for size, name in zip(self.sizes, self.splits, strict=True) if name == split]
            if sizes:
                lines.append(f"{split:<9} {_amount(sizes)}")
        drawn = [f"{name} {100 * share:g} %" for name, share in drawn_splits(self.splits, self.shares)]
        if drawn:
            lines.append(f"drawn     {', '.join(reversed(drawn))} of each class of train")
        if self.classes is None:
            lines.append("classes   as labels say; shards.classes=FILE names them")
        else:
            lines.append(f"classes   {len(self.classes):,}, named by shards.classes")
        return [*lines, f"dataset   {self.root}"]


@dataclass(frozen=True)
class Labelled:
    """Samples of all shards with their labels, and those whose label is none."""

    classes: list[str]
    shards: list[ForeignShard]
    """Their samples are those that have a label."""
    labels: list[NDArray[np.int32]]
    bad: list[Bad]


def plan_in_place(config: PackConfig, root: Path) -> ForeignPlan:
    """Find the shards and their sizes.

    Raises `UserError` if there are none, or if by their names none is left to train on.
    """
    # An address such as [::1] is no separator.
    patterns = re.split(r"::(?![^\[]*\])", config.source.removeprefix(KIND))
    found: list[str] = []
    for pattern in patterns:
        locations = _glob(pattern)
        if not locations:
            hint = "for example shards:DIR/*.tar, or shards:https://HOST/train-{000000..000012}.tar"
            raise UserError(f"source={KIND}{public(pattern)}: no such shards", hint)
        found += locations
    shards = list(dict.fromkeys(found))
    name = KIND + "::".join(map(public, patterns))
    splits: list[str | None] = [split_of(location) for location in shards]
    if None in splits:
        splits = [None] * len(splits)
    elif "train" not in splits:
        problem = f"source={name}: the names of the shards make all of them {splits[0]}"
        raise UserError(problem, "add shards to train on, separated by ::, or link them under other names")
    classes = None if config.shards.classes is None else read_classes(config.shards.classes)
    with ThreadPoolExecutor(16) as pool:
        sizes = list(pool.map(file_size, shards))
    return ForeignPlan(root, name, shards, sizes, splits, config.split, classes)


def split_of(location: str) -> str | None:
    """Return the split that a shard is called by: a word of its file name, else the name of its folder."""
    folder, _, name = public(location).lower().rpartition("/")
    named = {SPLIT_NAMES[word] for word in re.findall("[a-z]+", name) if word in SPLIT_NAMES}
    if len(named) == 1:
        return named.pop()
    return SPLIT_NAMES.get(folder.rpartition("/")[2])


def index_in_place(config: PackConfig, plan: ForeignPlan, folder: Path, run: RunAll) -> Content:
    """Read all shards, one by one or as tasks, and write SPLIT/index.parquet of each split below a folder.

    Raises `UserError` for damaged shards, too many samples that cannot be used, labels or classes that cannot
    be told.
    """
    label, json_key = config.shards.label, config.shards.json_key
    read = partial(read_shard, label=label, json_key=json_key, max_pixels=config.max_pixels)
    found = list(run(read, plan.shards))
    refuse_damaged(found)
    for line in without_end(found):
        say(line)
    bad = [item for shard in found for item in shard.bad]
    total = len(bad) + sum(len(shard.samples) for shard in found)
    if plan.classes is None:
        # They are found in what is left: not if too much is missing.
        check_bad(bad, total, config.max_bad_fraction)
    labelled = label_samples(found, plan.classes)
    bad += labelled.bad
    check_bad(bad, total, config.max_bad_fraction)
    splits = write_splits(folder, plan, labelled, config.seed)
    return Content(labelled.classes, splits, grey=all(shard.grey for shard in found), bad=bad)


def refuse_damaged(shards: Sequence[ForeignShard]) -> None:
    """Raise `UserError` with all shards that cannot be used."""
    damaged = [f"{public(shard.location)}: {shard.damage}" for shard in shards if shard.damage is not None]
    if damaged:
        listed = damaged[:10] + ["…"] * (len(damaged) > 10)
        todo = "fetch or write them anew, or leave them out of source="
        raise UserError(f"{len(damaged)} of {len(shards)} shards cannot be used", "\n".join([*listed, todo]))


def without_end(shards: Sequence[ForeignShard]) -> list[str]:
    """Return a line on shards that stop without an end marker, if there are any."""
    open_ended = [public(shard.location) for shard in shards if not shard.has_end]
    if not open_ended:
        return []
    which = f"{len(open_ended)} of {len(shards)} shards have no end marker, the first is {open_ended[0]}"
    return [f"warning: {which}; if they were cut off between two samples, the rest is missing"]


def label_samples(shards: Sequence[ForeignShard], given: list[str] | None) -> Labelled:
    """Turn the labels of all shards into numbers of classes.

    Raises `UserError` if there are none, if the shards keep their labels in different places, or classes
    cannot be told.
    """
    if not any(len(shard.samples) for shard in shards):
        hint = f"a sample is KEY.{PICTURES[0]} (or {', '.join(PICTURES[1:])}) and KEY.{', .'.join(LABELS)}"
        raise UserError("the shards hold no samples", hint)
    kinds = {shard.label: public(shard.location) for shard in reversed(shards) if shard.label is not None}
    if len(kinds) > 1:
        problem = "; ".join(f"{location} has labels in {kind}" for kind, location in kinds.items())
        raise UserError(
            f"the shards do not agree: {problem}", "choose one with shards.label=cls, txt or json"
        )
    classes = find_classes([shard.samples for shard in shards], given)
    if len(classes.names) < 2:
        raise UserError(f"the shards have one class, {classes.names[0]!r}", "at least two are needed")
    kept, all_labels, bad = [], [], []
    for shard in shards:
        labels, reasons = classes.labels_of(shard.samples)
        for row, reason in reasons.items():
            bad.append(Bad(shard.samples["key"][row].as_py(), f"{reason} ({public(shard.location)})"))
        kept.append(replace(shard, samples=shard.samples.filter(pa.array(labels >= 0))))
        all_labels.append(labels[labels >= 0])
    return Labelled(classes.names, kept, all_labels, bad)


def write_splits(folder: Path, plan: ForeignPlan, labelled: Labelled, seed: int) -> dict[str, Split]:
    """Write SPLIT/index.parquet of each split below a folder; ids are in the order of the shards and tars.

    Raises `UserError` if a split that shards are called by has no sample, or a class has too few.
    """
    labels = np.concatenate(labelled.labels)
    counts = [len(part) for part in labelled.labels]
    given = [split for split, count in zip(plan.splits, counts, strict=True) for _ in range(count)]
    empty = sorted(str(name) for name in set(plan.splits) - set(given))
    if empty:
        raise UserError(f"no usable images are left in split {empty[0]}", "leave its shards out of source=")
    names = np.array(assign_splits(labelled.classes, labels.tolist(), given, plan.shares, seed))
    ends = np.cumsum(counts)
    splits = {}
    for name in SPLITS:
        masks = np.split(names == name, ends[:-1])
        if any(mask.any() for mask in masks):
            (folder / name).mkdir()
            splits[name] = _write_split(folder / name / INDEX, labelled, masks)
    return splits


def _write_split(path: Path, labelled: Labelled, masks: list[NDArray[np.bool_]]) -> Split:
    shards: list[Shard] = []
    rows = hashlib.sha256()
    with IndexWriter(path) as writer:
        for shard, all_labels, mask in zip(labelled.shards, labelled.labels, masks, strict=True):
            labels = all_labels[mask]
            if not len(labels):
                continue
            numbers = np.full(len(labels), len(shards), dtype=np.int32)
            samples = shard.samples.filter(pa.array(mask))
            columns = {name: samples[name] for name in SCHEMA.names if name in samples.column_names}
            table = pa.table({**columns, "shard": numbers, "label": labels}).select(SCHEMA.names)
            writer.append(table)
            rows.update(row_bytes(table))
            shards.append(
                Shard(
                    path=shard.location,
                    num_samples=len(labels),
                    size_bytes=shard.size_bytes,
                    sha256=shard.sha256,
                )
            )
    num_samples = sum(shard.num_samples for shard in shards)
    return Split(num_samples=num_samples, shards=shards, rows_sha256=rows.hexdigest())


def _glob(pattern: str) -> list[str]:
    if not pattern:
        return []
    if is_uri(pattern):
        return glob(data_location(pattern, key="source"))
    folder = re.split(r"[*?\[{]", pattern)[0].rpartition("/")[0]
    start = folder or ("/" if pattern.startswith("/") else ".")
    return glob(str(input_path(start) / pattern[len(folder) :].lstrip("/")))


def _amount(sizes: Sequence[int]) -> str:
    return f"{len(sizes):,} shard{'s' * (len(sizes) > 1)}, {amount(sum(sizes))}"
