"""Verify a dataset against itself, and say what is in it: `python jobs/pack.py check DATASET`.

plan = plan_check(config)
checked = check(config, plan, runner(config, plan))
checked.problems, checked.lines()

Shards are read from end to end, one picture at a time; one that is not on this machine is first copied to a
temporary file. This process needs some 80 bytes of memory for each sample, for sizes, labels and checksums;
keys are read again when they are to be named.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lib.cluster import connect, num_cpus, ray_map
from lib.config.packing import CheckConfig
from lib.config.paths import data_location, is_uri
from lib.console import amount
from lib.data import storage
from lib.data.check_shard import Found, ShardTask, check_shard
from lib.data.duplicates import find_duplicates, warnings
from lib.data.index import SCHEMA, row_bytes
from lib.data.inventory import Inventory, table
from lib.data.listing import read_keys, read_listing
from lib.data.manifest import INDEX, MANIFEST, Manifest, digest_of, read_manifest
from lib.data.problems import LISTED, Problems
from lib.errors import MantaError, UserError

# Runs a function on every task and returns the results in order: the built-in `map`, or Ray tasks.
RunAll = Callable[[Callable[[ShardTask], Found], Iterable[ShardTask]], Iterable[Found]]

# Below this, starting Ray takes longer than checking; decoding takes several times as long as reading.
_SMALL_BYTES, _SMALL_DECODED_BYTES = 2e9, 300e6


@dataclass(frozen=True)
class CheckPlan:
    """What will be read."""

    root: str
    manifest: Manifest

    @property
    def where(self) -> str:
        """The location, fit for a message."""
        return storage.public(self.root)

    @property
    def num_shards(self) -> int:
        """Shards of all splits."""
        return sum(len(split.shards) for split in self.manifest.splits.values())

    @property
    def size_bytes(self) -> int:
        """Bytes of all shards, as the manifest says."""
        return sum(shard.size_bytes for split in self.manifest.splits.values() for shard in split.shards)

    def lines(self) -> list[str]:
        """Describe the job for a person."""
        amounts = self.amounts()
        return [f"dataset   {self.where}", f"images    {amounts['images']}", f"shards    {amounts['shards']}"]

    def amounts(self) -> dict[str, str]:
        """Return images and shards, as the manifest says, for the closing block."""
        images = [f"{name} {split.num_samples:,}" for name, split in self.manifest.splits.items()]
        return {
            "images": ", ".join(images),
            "shards": f"{self.num_shards:,}, {amount(self.size_bytes)}",
        }


@dataclass(frozen=True)
class Checked:
    """What came of it: a description, warnings (it may mislead), and problems (it is damaged)."""

    description: list[str]
    warnings: list[str]
    problems: Problems

    def lines(self) -> list[str]:
        """Say all of it to a person."""
        lines = ["", *self.description]
        if self.warnings:
            lines += ["", *self.warnings]
        if self.problems:
            lines += ["", *self.problems.lines()]
        return lines


def plan_check(config: CheckConfig) -> CheckPlan:
    """Read the manifest.

    Raises `UserError` if the place is no dataset or may not be read, `RunError` if a server does not deliver.
    """
    plan = CheckPlan(root := data_location(config.root, "root"), read_manifest(root))
    if not plan.manifest.splits:
        raise UserError(f"{plan.where} has no splits, so there is nothing to check", "pack the dataset again")
    return plan


def runner(config: CheckConfig, plan: CheckPlan) -> RunAll:
    """Choose where shards are checked: in this process if they are few or small, else as Ray tasks."""
    is_small = plan.size_bytes < (_SMALL_DECODED_BYTES if config.decode else _SMALL_BYTES)
    if config.num_workers == 0 or (config.num_workers == "auto" and (is_small or plan.num_shards == 1)):
        return map
    connect()
    at_a_time = num_cpus() if config.num_workers == "auto" else config.num_workers
    return partial(ray_map, at_a_time=at_a_time)


def check(config: CheckConfig, plan: CheckPlan, run: RunAll) -> Checked:
    """Check the manifest, the indexes and every shard; everything that is wrong is in the result."""
    problems = Problems()
    _check_manifest(plan.manifest, problems)
    inventories = {name: Inventory(len(split.shards)) for name, split in plan.manifest.splits.items()}
    hashes: dict[str, list[NDArray[np.uint64]]] = {name: [] for name in inventories}
    work = partial(
        check_shard,
        num_classes=len(plan.manifest.classes),
        max_pixels=config.max_pixels,
        full_decode=config.decode,
    )
    for found in run(work, _tasks(plan, inventories, problems)):
        problems.merge(found.problems)
        inventories[found.split].formats += found.formats
        hashes[found.split].append(found.key_hashes)
    for split, parts in hashes.items():
        _check_keys(plan.root, split, parts, problems)
    duplicates = find_duplicates({name: inventory.contents() for name, inventory in inventories.items()})
    keys = partial(_keys, plan.root)
    description = table(inventories, plan.manifest.classes)
    return Checked(description, warnings(duplicates, plan.manifest.classes, keys), problems)


def _check_manifest(manifest: Manifest, problems: Problems) -> None:
    for name, split in manifest.splits.items():
        if split.num_samples != sum(split.counts):
            problem = f"split {name} has {split.num_samples:,} samples, its shards have {sum(split.counts):,}"
            problems.add(MANIFEST, problem)
    if manifest.digest != digest_of(manifest.classes, manifest.splits):
        problems.add(MANIFEST, "the digest does not belong to these classes and shards")
    twice = sorted({name for name in manifest.classes if manifest.classes.count(name) > 1})
    for name in twice:
        problems.add(MANIFEST, f"two classes have the name {name}")


def _tasks(plan: CheckPlan, inventories: dict[str, Inventory], problems: Problems) -> Iterator[ShardTask]:
    """Yield a task for each shard while its rows are read, and keep of them what the inventory needs."""
    splits = plan.manifest.splits
    listed = Counter(shard.path for split in splits.values() for shard in split.shards)
    seen = set[str]()
    for name, split in splits.items():
        chosen = hashlib.sha256()
        rows_of_shards = _rows(plan.root, name, len(split.shards), problems)
        for shard, rows in zip(split.shards, rows_of_shards, strict=True):
            if rows is not None:
                inventories[name].add(rows)
                chosen.update(row_bytes(rows))
            location = storage.join(plan.root, shard.path)
            # Shards of somebody else may hold more than was taken from them.
            is_own = not is_uri(shard.path) and not shard.path.startswith("/")
            is_whole = is_own and listed[shard.path] == 1
            yield ShardTask(name, shard, location, rows, is_whole, is_first=shard.path not in seen)
            seen.add(shard.path)
        if split.rows_sha256 not in (None, chosen.hexdigest()):
            problems.add("damaged indexes", f"{name}/{INDEX}: dataset.json was made for other rows or labels")


def _rows(root: str, split: str, num_shards: int, problems: Problems) -> Iterator[pa.Table | None]:
    """Yield the rows of each shard; None for all that follow a damage of the index, which is reported."""
    number = 0
    try:
        for listed, rows in read_listing(_index(root, split)):
            if listed >= num_shards:
                raise UserError(f"it lists shard {listed}, the split has {num_shards}")
            yield from repeat(SCHEMA.empty_table(), listed - number)
            yield rows
            number = listed + 1
        yield from repeat(SCHEMA.empty_table(), num_shards - number)
    except MantaError as error:
        problems.add("damaged indexes", f"{split}/{INDEX}: {error.problem}")
        yield from repeat(None, num_shards - number)


def _check_keys(root: str, split: str, hashes: list[NDArray[np.uint64]], problems: Problems) -> None:
    """Report every sample whose key an earlier one of the split has."""
    columns = np.concatenate([np.empty(0, np.uint64), *hashes])
    order = np.argsort(columns, kind="stable")
    again = np.sort(order[1:][columns[order][1:] == columns[order][:-1]]).tolist()
    texts = [f"{split}: {key}" for key in _keys(root, split, again[:LISTED])] if again else []
    for number in range(len(again)):
        problems.add("keys that occur twice", texts[min(number, LISTED - 1)])


def _keys(root: str, split: str, ids: Sequence[int]) -> list[str]:
    return read_keys(_index(root, split), ids)


def _index(root: str, split: str) -> str | pa.NativeFile:
    return storage.open_random(storage.join(root, f"{split}/{INDEX}"))
