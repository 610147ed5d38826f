"""The same small pictures in any number of shards, and a loader over them, for benchmarks/scale.py.

write_dataset(folder / "1000", num_images=20_000, num_shards=1000)
samples, loader = open_loader(folder / "1000", threads=2)
plan = plan_of(samples, epoch=0)
for batch in loader.batches(map(plan.batch, range(plan.num_steps))): ...

The pictures have 256 x 256 pixels, as packing with resize=256 stores them, and are cut to 224.
"""

import hashlib
import io
import tarfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from probe import BATCH_SIZE, WINDOW_SHARDS

from lib.data.dataset import Samples, open_dataset
from lib.data.index import IndexWriter, Row, checksum
from lib.data.loader import Loader
from lib.data.manifest import INDEX, MANIFEST, Manifest, Shard, Split, digest_of
from lib.data.sampling import EpochPlan
from lib.images.augment import train_transform
from lib.images.spec import PreprocessSpec

SPEC = PreprocessSpec(image_size=224, resize_size=256)
_SIDE_PX = 256
# An epoch is loaded in so many parts, in turns with the other datasets.
_PARTS = 10
_DISTINCT = 500
_CLASSES = 10


def write_dataset(root: Path, *, num_images: int, num_shards: int) -> None:
    """Write a dataset of one split; pictures, order and labels do not depend on the number of shards."""
    (root / "train").mkdir(parents=True)
    pictures = [_picture(seed) for seed in range(_DISTINCT)]
    checks = [checksum(data) for data in pictures]
    shards = []
    with IndexWriter(root / "train" / INDEX) as index:
        for shard, ids in enumerate(np.array_split(np.arange(num_images), num_shards)):
            path = root / f"train/train-{shard:06d}.tar"
            rows = []
            with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
                for sample_id in ids.tolist():
                    data, key, label = (
                        pictures[sample_id % _DISTINCT],
                        f"{sample_id:06d}",
                        sample_id % _CLASSES,
                    )
                    offset = _add(tar, f"{key}.jpg", data)
                    _add(tar, f"{key}.cls", str(label).encode())
                    rows.append(Row(key, label, offset, len(data), checks[sample_id % _DISTINCT]))
            index.add(shard, rows, [(_SIDE_PX, _SIDE_PX)] * len(rows))
            content = path.read_bytes()
            shards.append(
                Shard(
                    path=f"train/{path.name}",
                    num_samples=len(rows),
                    size_bytes=len(content),
                    sha256=hashlib.sha256(content).hexdigest(),
                )
            )
    classes = [str(label) for label in range(_CLASSES)]
    splits = {"train": Split(num_samples=num_images, shards=shards)}
    manifest = Manifest(classes=classes, splits=splits, source="flat", digest=digest_of(classes, splits))
    (root / MANIFEST).write_text(manifest.model_dump_json())


def open_loader(root: Path, threads: int) -> tuple[Samples, Loader]:
    """Open what training opens."""
    samples = open_dataset(str(root)).samples("train")
    shape = (SPEC.channels, SPEC.image_size, SPEC.image_size)
    return samples, Loader(samples, train_transform("standard", SPEC), shape, threads=threads)


def plan_of(samples: Samples, epoch: int) -> EpochPlan:
    """Return the order of an epoch, as training has it."""
    return EpochPlan(samples.counts, seed=0, epoch=epoch, batch_size=BATCH_SIZE, window_shards=WINDOW_SHARDS)


def load_in_turns(roots: dict[int, Path], threads: int, rounds: int) -> dict[int, dict[str, float]]:
    """Load all datasets, a part of an epoch at a time, and compare what was measured side by side."""
    opened = {shards: open_loader(root, threads) for shards, root in roots.items()}
    wall_s, cpu_s = [], []
    # One round that does not count: files come into the page cache, threads and codecs start.
    for epoch in range(rounds + 1):
        plans = {shards: plan_of(samples, epoch) for shards, (samples, _) in opened.items()}
        num_steps = next(iter(plans.values())).num_steps  # of the same pictures, so of all plans
        for part, steps in enumerate(np.array_split(np.arange(num_steps), min(_PARTS, num_steps))):
            taken = {}
            # Each comes first, second and third in turn.
            turn = (epoch + part) % len(roots)
            for shards in [*list(roots)[turn:], *list(roots)[:turn]]:
                taken[shards] = _load(opened[shards][1], plans[shards], steps.tolist())
            if epoch:
                wall_s.append([taken[shards][0] for shards in roots])
                cpu_s.append([taken[shards][1] for shards in roots])
    for samples, loader in opened.values():
        loader.close()
        samples.close()
    wall, cpu = np.array(wall_s), np.array(cpu_s)  # [parts, datasets], seconds per image
    # The machine may have neighbours: each part is held against the other datasets at that moment.
    of_wall, of_cpu = (np.median(each / each.mean(1, keepdims=True), axis=0) for each in (wall, cpu))
    names = ("images_per_s", "speed_of_mean", "cpu_us", "cpu_of_mean")
    columns = (1 / np.median(wall, axis=0), 1 / of_wall, 1e6 * np.median(cpu, axis=0), of_cpu)
    return {
        shards: dict(zip(names, map(float, row), strict=True))
        for shards, row in zip(roots, zip(*columns, strict=True), strict=True)
    }


def _load(loader: Loader, plan: EpochPlan, steps: list[int]) -> tuple[float, float]:
    """Load some steps of an epoch; return seconds and CPU seconds per image."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = sum(len(batch.ids) for batch in loader.batches(map(plan.batch, steps)))
    assert done == sum(map(plan.global_size, steps)), (done, steps)
    return (time.perf_counter() - wall) / done, (time.process_time() - cpu) / done


def _picture(seed: int) -> bytes:
    """Encode smooth noise: as many bytes per pixel as a photo has, about."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (_SIDE_PX // 4, _SIDE_PX // 4, 3), np.uint8)
    image = Image.fromarray(pixels).resize((_SIDE_PX, _SIDE_PX)).filter(ImageFilter.GaussianBlur(1))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a member; return where its bytes begin."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
    return tar.offset - -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
