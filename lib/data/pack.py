"""Pack a source into a dataset: the folder appears when it is complete, or not at all.

packed = pack(config, plan_pack(config), run=map)
packed.root, packed.manifest, packed.bad
"""

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lib.cluster import connect, num_cpus, ray_map
from lib.config.packing import PackConfig
from lib.config.paths import output_path
from lib.console import say
from lib.data.duplicates import find_duplicates, read_contents
from lib.data.index import write_index
from lib.data.inplace import KIND, ForeignPlan, index_in_place, plan_in_place
from lib.data.manifest import INDEX, MANIFEST, Manifest, Split, digest_of
from lib.data.packed import Content, Packed, RunAll, check_bad
from lib.data.quarantine import QUARANTINE, listed
from lib.data.shard import columns_of, write_shard
from lib.data.sources import Source, open_source
from lib.data.split import SPLITS, ShardPlan, assign_splits, plan_shards
from lib.errors import RunError, UserError
from lib.files import make_folder, make_partial

# Below this, starting Ray takes longer than packing.
_SMALL_IMAGES, _SMALL_BYTES = 20_000, 500e6


@dataclass(frozen=True)
class PackPlan:
    """What a packing job will do: known before a picture is read."""

    root: Path
    source: Source
    shards: list[ShardPlan]

    @property
    def name(self) -> str:
        """Where the pictures come from."""
        return self.source.name

    @property
    def amount(self) -> str:
        """How much there is, in words."""
        return f"{len(self.source.items):,} images"

    @property
    def is_small(self) -> bool:
        """One process is enough."""
        items = self.source.items
        return len(items) < _SMALL_IMAGES and sum(item.size_bytes for item in items) < _SMALL_BYTES

    def lines(self) -> list[str]:
        """Describe the job for a person."""
        lines = [f"source    {self.name}: {self.amount}, {len(self.source.classes)} classes"]
        for split in SPLITS:
            shards = [shard for shard in self.shards if shard.split == split]
            if shards:
                images = sum(len(shard.items) for shard in shards)
                lines.append(f"{split:<9} {images:,} images in {len(shards)} shard{'s' * (len(shards) > 1)}")
        return [*lines, f"dataset   {self.root}"]


def plan_pack(config: PackConfig) -> PackPlan | ForeignPlan:
    """Check the source and the target, and deal the samples to splits and shards.

    Shards of somebody else are only found; reading them is the job. Raises `UserError` if the target exists,
    the source is unusable, or a class is too small.
    """
    root = output_path(config.out)
    if root.exists():
        raise UserError(f"out={config.out} exists: {root}", "choose another out=, or remove it first")
    if config.source.startswith(KIND):
        return plan_in_place(config, root)
    source = open_source(config.source, config.csv)
    labels, given = [item.label for item in source.items], [item.split for item in source.items]
    splits = assign_splits(source.classes, labels, given, config.split, config.seed)
    size_bytes = config.shard_size_mb * 1e6
    shards = plan_shards(source, splits, seed=config.seed, shard_size_bytes=size_bytes, resize=config.resize)
    return PackPlan(root, source, shards)


def runner(config: PackConfig, plan: PackPlan | ForeignPlan) -> RunAll:
    """Choose where the shards are worked on: in this process if they are few or small, else as Ray tasks."""
    is_small = plan.is_small or len(plan.shards) == 1
    if config.num_workers == 0 or (config.num_workers == "auto" and is_small):
        return map
    connect()
    at_a_time = num_cpus() if config.num_workers == "auto" else config.num_workers
    return partial(ray_map, at_a_time=at_a_time)


def pack(config: PackConfig, plan: PackPlan | ForeignPlan, run: RunAll) -> Packed:
    """Write the dataset of a plan into a temporary folder beside the target, then rename it.

    Raises `UserError` if the target cannot be written, more pictures are unusable than
    `config.max_bad_fraction` allows, or a shard of somebody else is damaged; `RunError` if the disk is full.
    """
    root = plan.root
    make_folder(root.parent)
    folder = make_partial(root)
    try:
        if isinstance(plan, ForeignPlan):
            content = index_in_place(config, plan, folder, run)
        else:
            content = _write(config, plan, folder, run)
        manifest = _finish(folder, plan.name, content)
        contents = {name: read_contents(folder / name / INDEX) for name in manifest.splits}
        folder.rename(root)
    except OSError as error:
        raise RunError(f"{root} cannot be written: {str(error).splitlines()[-1]}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Packed(
        root,
        manifest,
        content.bad,
        resized=content.resized,
        source_bytes=content.source_bytes,
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
    say(f"packing {plan.name}: {plan.amount}")
    pack(config, plan, runner(config, plan))


def _write(config: PackConfig, plan: PackPlan, folder: Path, run: RunAll) -> Content:
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
    check_bad(bad, len(plan.source.items), config.max_bad_fraction)
    splits = {}
    for name in SPLITS:
        parts = [result for result in written if result.split == name]
        if parts:
            write_index(folder / name / INDEX, [p.rows for p in parts], [p.sizes for p in parts])
            shards = [part.shard for part in parts]
            splits[name] = Split(num_samples=sum(shard.num_samples for shard in shards), shards=shards)
            if not splits[name].num_samples:
                raise UserError(f"no readable images are left in split {name}", listed(bad))
    return Content(
        plan.source.classes,
        splits,
        grey=all(result.grey for result in written),
        bad=bad,
        resized=sum(result.resized for result in written),
        source_bytes=sum(result.source_bytes for result in written),
    )


def _finish(folder: Path, source: str, content: Content) -> Manifest:
    manifest = Manifest(
        classes=content.classes,
        splits=content.splits,
        source=source,
        digest=digest_of(content.classes, content.splits),
        channels=1 if content.grey else 3,
    )
    if content.bad:
        lines = (json.dumps({"key": item.key, "reason": item.reason}) for item in content.bad)
        (folder / QUARANTINE).write_text("\n".join(lines) + "\n")
    # `rows_sha256` is there for shards of somebody else only.
    text = manifest.model_dump_json(indent=1, exclude_none=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return manifest
