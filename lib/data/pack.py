"""Pack a source into a dataset: the folder appears when it is complete, or not at all.

packed = pack(config, run=map)
packed.root, packed.manifest, packed.bad
"""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from lib.cluster import connect, num_cpus, ray_map
from lib.config.paths import output_path
from lib.config.schema import PackConfig
from lib.console import say
from lib.data.foreign import read_shard
from lib.data.index import write_index
from lib.data.inplace import (
    KIND,
    ForeignPlan,
    label_samples,
    plan_shards_in_place,
    refuse_damaged,
    without_end,
    write_splits,
)
from lib.data.manifest import INDEX, MANIFEST, Manifest, Split, digest_of
from lib.data.shard import Bad, columns_of, write_shard
from lib.data.sources import Source, open_source
from lib.data.split import SPLITS, ShardPlan, assign_splits, plan_shards
from lib.errors import RunError, UserError
from lib.files import make_folder, make_partial

T = TypeVar("T")
R = TypeVar("R")


class RunAll(Protocol):
    """Runs a function on every item and returns the results in order: the built-in `map`, or Ray tasks."""

    def __call__(self, function: Callable[[T], R], items: Sequence[T], /) -> Iterable[R]:
        """Run it."""


# Below this, starting Ray takes longer than packing.
_SMALL_IMAGES, _SMALL_BYTES = 20_000, 500e6


@dataclass(frozen=True)
class PackPlan:
    """What a packing job will do: known before a picture is read."""

    root: Path
    source: Source
    shards: list[ShardPlan]

    @property
    def size_bytes(self) -> int:
        """Size of all pictures, as far as known."""
        return sum(item.size_bytes for item in self.source.items)

    @property
    def amount(self) -> str:
        """How much there is, in words."""
        return f"{len(self.source.items):,} images"

    def lines(self) -> list[str]:
        """Describe the job for a person."""
        lines = [f"source    {self.source.name}: {self.amount}, {len(self.source.classes)} classes"]
        for split in SPLITS:
            shards = [shard for shard in self.shards if shard.split == split]
            if shards:
                images = sum(len(shard.items) for shard in shards)
                lines.append(f"{split:<9} {images:,} images in {len(shards)} shard{'s' * (len(shards) > 1)}")
        return [*lines, f"dataset   {self.root}"]


@dataclass(frozen=True)
class Packed:
    """A finished dataset, and the pictures that were left out."""

    root: Path
    manifest: Manifest
    bad: list[Bad]


def plan_pack(config: PackConfig) -> PackPlan | ForeignPlan:
    """Check the source and the target, and deal the samples to splits and shards.

    Shards of somebody else are only found; reading them is the job. Raises `UserError` if the target exists,
    the source is unusable, or a class is too small.
    """
    root = output_path(config.out)
    if root.exists():
        raise UserError(f"out={config.out} exists: {root}", "choose another out=, or remove it first")
    if config.source.startswith(KIND):
        return plan_shards_in_place(config, root)
    source = open_source(config.source, config.csv)
    labels, given = [item.label for item in source.items], [item.split for item in source.items]
    splits = assign_splits(source.classes, labels, given, config.split, config.seed)
    size_bytes = config.shard_size_mb * 1e6
    shards = plan_shards(source, splits, seed=config.seed, shard_size_bytes=size_bytes, resize=config.resize)
    return PackPlan(root, source, shards)


def runner(config: PackConfig, plan: PackPlan | ForeignPlan) -> RunAll:
    """Choose where the shards are worked on: in this process if they are few or small, else as Ray tasks."""
    is_small = plan.size_bytes < _SMALL_BYTES
    if isinstance(plan, PackPlan):
        is_small = is_small and len(plan.source.items) < _SMALL_IMAGES
    if config.num_workers == 0 or (config.num_workers == "auto" and (is_small or len(plan.shards) == 1)):
        return map
    connect()
    at_a_time = num_cpus() if config.num_workers == "auto" else config.num_workers
    return partial(ray_map, at_a_time=at_a_time)


def pack(config: PackConfig, plan: PackPlan | ForeignPlan, run: RunAll) -> Packed:
    """Write the dataset of a plan into a temporary folder beside the target, then rename it.

    Raises `UserError` if the target cannot be written, more pictures are unreadable than
    `config.max_bad_fraction` allows, or a shard of somebody else is damaged; `RunError` if the disk is full.
    """
    root = plan.root
    make_folder(root.parent)
    folder = make_partial(root)
    try:
        if isinstance(plan, ForeignPlan):
            manifest, bad = _index(config, plan, folder, run)
        else:
            manifest, bad = _write(config, plan, folder, run)
        _finish(folder, manifest, bad)
        folder.rename(root)
    except OSError as error:
        raise RunError(f"{root} cannot be written: {str(error).splitlines()[-1]}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Packed(root, manifest, bad)


def pack_from(source: str, out: str, *, dry_run: bool) -> None:
    """Pack a source with the usual settings, and say so; for jobs that need a dataset first."""
    config = PackConfig(source=source, out=out)
    plan = plan_pack(config)
    if dry_run:
        for line in [*plan.lines(), "the run is planned once this dataset is packed"]:
            say(line)
        return
    say(f"packing {source}: {plan.amount}")
    pack(config, plan, runner(config, plan))


def _write(config: PackConfig, plan: PackPlan, folder: Path, run: RunAll) -> tuple[Manifest, list[Bad]]:
    for split in {shard.split for shard in plan.shards}:
        (folder / split).mkdir()
    write = partial(
        write_shard,
        columns=columns_of(plan.source),
        folder=folder,
        resize=config.resize,
        max_pixels=config.max_pixels,
    )
    written = list(run(write, plan.shards))
    bad = [item for result in written for item in result.bad]
    _check_bad(bad, len(plan.source.items), config.max_bad_fraction)
    splits = {}
    for name in SPLITS:
        parts = [result for result in written if result.split == name]
        if parts:
            write_index(folder / name / INDEX, [p.rows for p in parts], [p.sizes for p in parts])
            shards = [part.shard for part in parts]
            splits[name] = Split(num_samples=sum(shard.num_samples for shard in shards), shards=shards)
            if not splits[name].num_samples:
                raise UserError(f"no readable images are left in split {name}", _listed(bad))
    grey = all(result.grey for result in written)
    return _manifest(plan.source.name, plan.source.classes, splits, grey), bad


def _index(config: PackConfig, plan: ForeignPlan, folder: Path, run: RunAll) -> tuple[Manifest, list[Bad]]:
    label, json_key = config.shards.label, config.shards.json_key
    read = partial(read_shard, label=label, json_key=json_key, max_pixels=config.max_pixels)
    found = list(run(read, plan.shards))
    refuse_damaged(found)
    for line in without_end(found):
        say(line)
    bad = [item for shard in found for item in shard.bad]
    total = len(bad) + sum(len(shard.samples) for shard in found)
    # Before classes are looked for: where no label can be read there are none to find.
    _check_bad(bad, total, config.max_bad_fraction)
    labelled = label_samples(found, plan.classes)
    bad += labelled.bad
    _check_bad(bad, total, config.max_bad_fraction)
    splits = write_splits(folder, plan, labelled, config.seed)
    grey = all(shard.grey for shard in found)
    return _manifest(plan.name, labelled.classes, splits, grey), bad


def _manifest(source: str, classes: list[str], splits: dict[str, Split], grey: bool) -> Manifest:
    return Manifest(
        classes=classes,
        splits=splits,
        source=source,
        digest=digest_of(classes, splits),
        channels=1 if grey else 3,
    )


def _finish(folder: Path, manifest: Manifest, bad: list[Bad]) -> None:
    if bad:
        lines = (json.dumps({"key": item.key, "reason": item.reason}) for item in bad)
        (folder / "quarantine.jsonl").write_text("\n".join(lines) + "\n")
    # What is not there is left out: `rows_sha256` belongs to shards of somebody else.
    text = manifest.model_dump_json(indent=1, exclude_none=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _check_bad(bad: list[Bad], total: int, allowed_fraction: float) -> None:
    if len(bad) <= allowed_fraction * total:
        return
    raise UserError(
        f"{len(bad)} of {total} images cannot be used; max_bad_fraction={allowed_fraction:g} allows "
        f"{int(allowed_fraction * total)}",
        _listed(bad) + "\nrepair or remove them, or raise max_bad_fraction",
    )


def _listed(bad: list[Bad]) -> str:
    return "\n".join([f"{item.key}: {item.reason}" for item in bad[:10]] + ["…"] * (len(bad) > 10))
