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

import numpy as np

from lib.cluster import connect, num_cpus, ray_map
from lib.config.paths import output_path
from lib.config.schema import PackConfig
from lib.console import amount, say
from lib.data.duplicates import find_duplicates, read_contents
from lib.data.index import write_index
from lib.data.manifest import INDEX, MANIFEST, Manifest, Split, digest_of
from lib.data.shard import Bad, Written, columns_of, write_shard
from lib.data.sources import Source, open_source
from lib.data.split import SPLITS, ShardPlan, assign_splits, plan_shards
from lib.errors import RunError, UserError
from lib.files import make_folder, make_partial

# Runs a function on every plan and returns the results in order: the built-in `map`, or Ray tasks.
RunAll = Callable[[Callable[[ShardPlan], Written], Sequence[ShardPlan]], Iterable[Written]]

# Below this, starting Ray takes longer than packing.
_SMALL_IMAGES, _SMALL_BYTES = 20_000, 500e6


@dataclass(frozen=True)
class PackPlan:
    """What a packing job will do: known before a picture is read."""

    root: Path
    source: Source
    shards: list[ShardPlan]

    def lines(self) -> list[str]:
        """Describe the job for a person."""
        classes, images = len(self.source.classes), len(self.source.items)
        lines = [f"source    {self.source.name}: {images:,} images, {classes} classes"]
        for split in SPLITS:
            shards = [shard for shard in self.shards if shard.split == split]
            if shards:
                images = sum(len(shard.items) for shard in shards)
                lines.append(f"{split:<9} {images:,} images in {len(shards)} shard{'s' * (len(shards) > 1)}")
        return [*lines, f"dataset   {self.root}"]


@dataclass(frozen=True)
class Packed:
    """A finished dataset, the pictures that were left out, and what resizing saved."""

    root: Path
    manifest: Manifest
    bad: list[Bad]
    resized: int
    """Pictures that were made smaller."""
    source_bytes: int
    """Size of all pictures before packing."""
    stored_bytes: int
    """Size of all pictures as they are stored."""
    shared: int
    """Pictures that more than one split has."""

    def remarks(self, resize: int | None) -> dict[str, str]:
        """Return rows of the closing block: what was left out, what resizing saved, what is wrong with it."""
        rows = {}
        if self.bad:
            rows["left out"] = (
                f"{len(self.bad)} unreadable images, listed in {self.root / 'quarantine.jsonl'}"
            )
        if resize is not None:
            images = sum(split.num_samples for split in self.manifest.splits.values())
            percent = f"{100 * self.stored_bytes / max(1, self.source_bytes):.0f} %"
            sizes = f"{amount(self.source_bytes)} -> {amount(self.stored_bytes)} ({percent})"
            rows["resized"] = f"{self.resized:,} of {images:,} images; {sizes}"
        if self.shared:
            is_one = self.shared == 1
            shared = f"{self.shared:,} {'image is' if is_one else 'images are'} in more than one split"
            lists = f"python jobs/pack.py check {self.root} lists {'it' if is_one else 'them'}"
            rows["warning"] = f"{shared}; {lists}"
        return rows


def plan_pack(config: PackConfig) -> PackPlan:
    """Check the source and the target, and deal the samples to splits and shards.

    Raises `UserError` if the target exists, the source is unusable, or a class is too small.
    """
    root = output_path(config.out)
    if root.exists():
        raise UserError(f"out={config.out} exists: {root}", "choose another out=, or remove it first")
    source = open_source(config.source, config.csv)
    splits = assign_splits(source, config.split, config.seed)
    size_bytes = config.shard_size_mb * 1e6
    shards = plan_shards(source, splits, seed=config.seed, shard_size_bytes=size_bytes, resize=config.resize)
    return PackPlan(root, source, shards)


def runner(config: PackConfig, plan: PackPlan) -> RunAll:
    """Choose where the shards are written: in this process if they are few or small, else as Ray tasks."""
    items = plan.source.items
    is_small = len(items) < _SMALL_IMAGES and sum(item.size_bytes for item in items) < _SMALL_BYTES
    if config.num_workers == 0 or (config.num_workers == "auto" and (is_small or len(plan.shards) == 1)):
        return map
    connect()
    at_a_time = num_cpus() if config.num_workers == "auto" else config.num_workers
    return partial(ray_map, at_a_time=at_a_time)


def pack(config: PackConfig, plan: PackPlan, run: RunAll) -> Packed:
    """Write the dataset of a plan into a temporary folder beside the target, then rename it.

    Raises `UserError` if the target cannot be written or more pictures are unreadable than
    `config.max_bad_fraction` allows, `RunError` if the disk is full.
    """
    root = plan.root
    make_folder(root.parent)
    folder = make_partial(root)
    try:
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
        manifest = _finish(folder, plan.source, written, bad)
        contents = {name: read_contents(folder / name / INDEX) for name in manifest.splits}
        folder.rename(root)
    except OSError as error:
        raise RunError(f"{root} cannot be written: {str(error).splitlines()[-1]}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Packed(
        root,
        manifest,
        bad,
        resized=sum(result.resized for result in written),
        source_bytes=sum(result.source_bytes for result in written),
        stored_bytes=sum(int(part.size_bytes.sum(dtype=np.int64)) for part in contents.values()),
        shared=find_duplicates(contents).between.pictures,
    )


def pack_from(source: str, out: str, *, dry_run: bool) -> None:
    """Pack a source with the usual settings, and say so; for jobs that need a dataset first."""
    config = PackConfig(source=source, out=out)
    plan = plan_pack(config)
    if dry_run:
        for line in [*plan.lines(), "the run is planned once this dataset is packed"]:
            say(line)
        return
    say(f"packing {source}: {len(plan.source.items):,} images")
    pack(config, plan, runner(config, plan))


def _finish(folder: Path, source: Source, written: list[Written], bad: list[Bad]) -> Manifest:
    splits = {}
    for name in SPLITS:
        parts = [result for result in written if result.split == name]
        if parts:
            write_index(folder / name / INDEX, [p.rows for p in parts], [p.sizes for p in parts])
            shards = [part.shard for part in parts]
            splits[name] = Split(num_samples=sum(shard.num_samples for shard in shards), shards=shards)
            if not splits[name].num_samples:
                raise UserError(f"no readable images are left in split {name}", _listed(bad))
    manifest = Manifest(
        classes=source.classes,
        splits=splits,
        source=source.name,
        digest=digest_of(source.classes, splits),
        channels=1 if all(result.grey for result in written) else 3,
    )
    if bad:
        lines = (json.dumps({"key": item.key, "reason": item.reason}) for item in bad)
        (folder / "quarantine.jsonl").write_text("\n".join(lines) + "\n")
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return manifest


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
