"""The loaders that `benchmarks/data.py` compares, each doing the same work on the same pictures.

The work: RandomResizedCrop(224), horizontal flip, normalise, float batches of `batch_size`, with `workers`
threads or processes. A pipeline prepares itself and returns a function that runs one epoch.

    epoch = PIPELINES["manta"](corpus, batch_size=64, workers=2)
    for batch in epoch(): ...                        # float [b, 3, 224, 224]
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.images.spec import IMAGENET_MEAN, IMAGENET_STD, PreprocessSpec

SPEC = PreprocessSpec(224, 256, 3)
SCALE = (0.08, 1.0)


@dataclass(frozen=True)
class Corpus:
    """The same pictures as files in class folders, and packed as they are and at 256 pixels."""

    photos: Path
    packed: Path
    resized: Path

    @property
    def shards(self) -> list[str]:
        """Paths of the training shards."""
        manifest = json.loads((self.packed / "dataset.json").read_text())
        return [str(self.packed / shard["path"]) for shard in manifest["splits"]["train"]["shards"]]


Epoch = Callable[[], Iterator[Tensor]]


def manta(corpus: Corpus, batch_size: int, workers: int, *, resized: bool = False) -> Epoch:
    """Manta: index and pread, box decoding in threads, uint8 until the end."""
    from lib.data.dataset import open_dataset
    from lib.data.loader import Loader
    from lib.data.sampling import EpochPlan
    from lib.images.augment import train_transform
    from lib.images.preprocess import normalise

    samples = open_dataset(str(corpus.resized if resized else corpus.packed)).samples("train")
    transform = train_transform("standard", SPEC, scale=SCALE)
    loader = Loader(samples, transform, (3, 224, 224), threads=workers)
    epochs = iter(range(1_000_000))

    def epoch() -> Iterator[Tensor]:
        plan = EpochPlan(samples.counts, seed=0, epoch=next(epochs), batch_size=batch_size, window_shards=16)
        for batch in loader.batches(map(plan.batch, range(plan.num_steps))):
            yield normalise(batch.pixels, SPEC)

    return epoch


def imagefolder(corpus: Corpus, batch_size: int, workers: int) -> Epoch:
    """torchvision's ImageFolder and torch's DataLoader, as its reference scripts use them."""
    from torchvision.datasets import ImageFolder

    dataset = ImageFolder(str(corpus.photos), _torchvision())
    return _data_loader(dataset, batch_size, workers, shuffle=True)


def webdataset_pil(corpus: Corpus, batch_size: int, workers: int) -> Epoch:
    """webdataset, pictures decoded by Pillow."""
    return _webdataset(corpus, batch_size, workers, "pil", _torchvision())


def webdataset_simplejpeg(corpus: Corpus, batch_size: int, workers: int) -> Epoch:
    """webdataset, JPEG decoded by libjpeg-turbo at a reduced scale where that is enough."""
    import simplejpeg
    from PIL import Image

    def decode(key: str, data: bytes) -> Any:
        if not key.endswith(".jpg"):
            return None
        return Image.fromarray(simplejpeg.decode_jpeg(data, min_height=256, min_width=256))

    return _webdataset(corpus, batch_size, workers, decode, _torchvision())


def _webdataset(corpus: Corpus, batch_size: int, workers: int, decode: Any, transform: Any) -> Epoch:
    import webdataset

    dataset = (
        webdataset.WebDataset(corpus.shards, shardshuffle=100, seed=0, nodesplitter=None, empty_check=False)
        .shuffle(1000)
        .decode(decode)
        .to_tuple("jpg", "cls")
        .map_tuple(transform, int)
        .batched(batch_size)
    )
    loader = webdataset.WebLoader(dataset, batch_size=None, num_workers=workers, persistent_workers=True)
    return lambda: (images for images, _ in loader)


def dali(corpus: Corpus, batch_size: int, workers: int, *, decoder: str = "region") -> Epoch:
    """NVIDIA DALI on CPU: its webdataset reader, and decoding of the crop alone."""
    from nvidia.dali import fn, pipeline_def, types
    from nvidia.dali.plugin.pytorch import DALIGenericIterator, LastBatchPolicy

    @pipeline_def(batch_size=batch_size, num_threads=workers, device_id=None)
    def pipe() -> Any:
        jpeg, label = fn.readers.webdataset(
            paths=corpus.shards, ext=["jpg", "cls"], random_shuffle=True, initial_fill=1000, name="reader"
        )
        area = {"random_area": list(SCALE), "random_aspect_ratio": [3 / 4, 4 / 3]}
        if decoder == "region":
            images = fn.decoders.image_random_crop(jpeg, device="cpu", output_type=types.RGB, **area)
            images = fn.resize(images, resize_x=224, resize_y=224, antialias=True)
        else:
            images = fn.decoders.image(jpeg, device="cpu", output_type=types.RGB)
            images = fn.random_resized_crop(images, size=[224, 224], antialias=True, **area)
        return fn.crop_mirror_normalize(
            images,
            dtype=types.FLOAT,
            output_layout="CHW",
            mirror=fn.random.coin_flip(probability=0.5),
            mean=[255 * value for value in IMAGENET_MEAN],
            std=[255 * value for value in IMAGENET_STD],
        ), label

    iterator = DALIGenericIterator(
        [pipe()],
        ["image", "label"],
        reader_name="reader",
        last_batch_policy=LastBatchPolicy.PARTIAL,
        auto_reset=True,
    )
    return lambda: (batch[0]["image"] for batch in iterator)


def litdata(corpus: Corpus, batch_size: int, workers: int) -> Epoch:
    """LitData, its own format, pictures decoded by Pillow."""
    from litdata import StreamingDataLoader, StreamingDataset, optimize

    folder = _converted(corpus, "litdata")
    if not folder.exists():
        optimize(_labelled, _files(corpus), output_dir=str(folder), num_workers=1, chunk_bytes="64MB")
    dataset = StreamingDataset(str(folder), shuffle=True, transform=partial(_transformed, _torchvision()))
    loader = StreamingDataLoader(dataset, batch_size=batch_size, num_workers=workers, persistent_workers=True)
    return lambda: iter(loader)


def _transformed(transform: Any, item: dict[str, Any]) -> Tensor:
    result: Tensor = transform(_decoded(item["jpg"]))
    return result


def _labelled(item: tuple[str, int]) -> dict[str, Any]:
    return {"jpg": Path(item[0]).read_bytes(), "cls": item[1]}


def streaming(corpus: Corpus, batch_size: int, workers: int) -> Epoch:
    """MosaicML Streaming, its own format, pictures decoded by Pillow."""
    from streaming import MDSWriter, StreamingDataset

    folder = _converted(corpus, "streaming")
    if not folder.exists():
        with MDSWriter(out=str(folder), columns={"jpg": "bytes", "cls": "int"}) as writer:
            for item in _files(corpus):
                writer.write(_labelled(item))
    transform = _torchvision()

    class Photos(StreamingDataset):  # type: ignore[misc]  # streaming has no types
        def __getitem__(self, index: Any) -> Any:
            return transform(_decoded(super().__getitem__(index)["jpg"]))

    dataset = Photos(local=str(folder), shuffle=True, batch_size=batch_size)
    return _data_loader(dataset, batch_size, workers)


def ray_data(corpus: Corpus, batch_size: int, workers: int) -> Epoch:
    """Ray Data: read_webdataset, map_batches with Pillow, iter_torch_batches."""
    import ray

    ray.init("local", num_cpus=workers, log_to_driver=False, include_dashboard=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    transform = _torchvision()

    def prepare(batch: dict[str, Any]) -> dict[str, Any]:
        return {"image": np.stack([transform(_decoded(data)).numpy() for data in batch["jpg"]])}

    def epoch() -> Iterator[Tensor]:
        rows = ray.data.read_webdataset(corpus.shards, decoder=None, shuffle="files")
        for batch in rows.map_batches(prepare, batch_size=batch_size).iter_torch_batches(
            batch_size=batch_size
        ):
            yield batch["image"]

    return epoch


def limit(corpus: Corpus, batch_size: int, workers: int) -> Epoch:
    """What cannot be avoided: the crop decoded from bytes in memory and resized, a process per core."""
    from torch.multiprocessing import get_context

    pool = get_context("fork").Pool(workers, _prepare_limit, (corpus,))
    count = len(_files(corpus))
    parts = [range(first, min(first + batch_size, count)) for first in range(0, count, batch_size)]

    def epoch() -> Iterator[Tensor]:
        for done in pool.imap_unordered(_run_limit, parts):
            yield torch.empty(done, 0)

    return epoch


def _prepare_limit(corpus: Corpus) -> None:
    torch.set_num_threads(1)
    _limit_data.extend(Path(path).read_bytes() for path, _ in _files(corpus))


_limit_data: list[bytes] = []


def _run_limit(numbers: range) -> int:
    from lib.images.augment import random_box
    from lib.images.preprocess import cut

    for number in numbers:
        draw = random.Random(number)
        tries = [draw.random() for _ in range(40)]
        cut(_limit_data[number], partial(random_box, tries=tries, scale=SCALE), SPEC)
    return len(numbers)


def _torchvision() -> Any:
    """Return the transforms of torchvision's reference script."""
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.RandomResizedCrop(224, scale=SCALE),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )


def _data_loader(dataset: Any, batch_size: int, workers: int, **options: Any) -> Epoch:
    from torch.utils.data import DataLoader

    loader = DataLoader(
        dataset, batch_size=batch_size, num_workers=workers, persistent_workers=workers > 0, **options
    )
    return lambda: (batch if isinstance(batch, Tensor) else batch[0] for batch in loader)


def _decoded(data: bytes) -> Any:
    import io

    from PIL import Image

    return Image.open(io.BytesIO(data)).convert("RGB")


def _files(corpus: Corpus) -> list[tuple[str, int]]:
    return [(str(path), int(path.parent.name[-1])) for path in sorted(corpus.photos.rglob("*.jpg"))]


def _converted(corpus: Corpus, name: str) -> Path:
    return corpus.photos.parent / name


# Pipeline and the module that it needs beyond Manta's own.
PIPELINES: dict[str, tuple[Callable[[Corpus, int, int], Epoch], str]] = {
    "manta": (manta, "torch"),
    "manta_resized": (partial(manta, resized=True), "torch"),
    "limit": (limit, "nvidia.nvimgcodec"),
    "webdataset_pil": (webdataset_pil, "webdataset"),
    "webdataset_simplejpeg": (webdataset_simplejpeg, "simplejpeg"),
    "imagefolder": (imagefolder, "torchvision"),
    "dali": (dali, "nvidia.dali"),
    "dali_full": (partial(dali, decoder="full"), "nvidia.dali"),
    "streaming": (streaming, "streaming"),
    "litdata": (litdata, "litdata"),
    "ray_data": (ray_data, "ray.data"),
}
