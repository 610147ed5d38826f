"""Answer a part of many pictures and write it down: the unit of work of jobs/predict.py.

worker = PartWriter(folder, pictures, config, folder_of_parts, device="cpu", threads=2)
worker.write(3)                          # writes part-000003.parquet

Parts are whole batches, so each picture is in the same batch as in an evaluation, and its answer has the same
bits.
"""

import io
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from lib.config.predicting import PredictConfig
from lib.data.loader import Pictures
from lib.data.order import Ids
from lib.data.quarantine import Entry, Quarantine
from lib.files import write_bytes
from lib.predict.engines import Wanted, choose_engine
from lib.predict.ensemble import Ensemble
from lib.predict.folder import Folder
from lib.predict.loading import batches_of, open_loaders
from lib.predict.scoring import pixels_of

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.string()),
        ("index", pa.int32()),
        ("probability", pa.float32()),
        ("members_used", pa.int16()),
        ("abstained", pa.bool_()),
    ]
)
_BAD = b"manta.bad"


def part_path(parts: Path, number: int) -> Path:
    """Where a part lies."""
    return parts / f"part-{number:06d}.parquet"


def bad_of(path: Path) -> list[Entry]:
    """Return which pictures of a part could not be used."""
    found = json.loads(pq.read_schema(path).metadata[_BAD])
    return [(split, key, reason) for split, key, reason in found]


class PartWriter:
    """An ensemble that answers parts of the input."""

    def __init__(
        self,
        folder: Folder,
        pictures: Pictures,
        config: PredictConfig,
        parts: Path,
        device: str,
        threads: int,
    ) -> None:
        torch.set_num_threads(threads)
        self._pictures, self._config, self._parts = pictures, config, parts
        wanted = Wanted(
            config.engine, "fp32", threads=threads, max_batch_size=config.batch_size, device=device
        )
        self._ensemble = Ensemble(folder, partial(choose_engine, wanted=wanted))
        self._classes = pa.array(folder.classes, pa.string())
        self._quarantine = Quarantine({pictures.name: len(pictures)}, config.read.max_bad_fraction)
        self._loaders = open_loaders(
            pictures, self._ensemble.kinds, config.read, threads=threads, quarantine=self._quarantine
        )

    def write(self, number: int) -> int:
        """Answer the pictures of a part and write them; return how many were answered.

        Raises `RunError` if too many cannot be used.
        """
        known = set(self._quarantine.entries())
        columns = self._answers(number)
        bad = [entry for entry in self._quarantine.entries() if entry not in known]
        ids, index, probability, used = columns
        table = pa.table(
            {
                "key": pa.array(self._pictures.keys(ids), pa.string()),
                "label": self._classes.take(pa.array(index)),
                "index": pa.array(index.astype(np.int32)),
                "probability": pa.array(probability.astype(np.float32)),
                "members_used": pa.array(used.astype(np.int16)),
                "abstained": pa.array(probability < (self._config.abstain_below or 0.0)),
            },
            schema=SCHEMA.with_metadata({_BAD: json.dumps(bad).encode()}),
        )
        stream = io.BytesIO()
        pq.write_table(table, stream, compression="zstd")
        write_bytes(part_path(self._parts, number), stream.getvalue())
        return len(table)

    def close(self) -> None:
        """End the threads, and close the input."""
        for loader in self._loaders.values():
            loader.close()
        self._pictures.close()

    def _answers(self, number: int) -> tuple[NDArray[Any], ...]:
        """Return ids, class, probability and members used of each picture of a part, all [n]."""
        nothing = np.empty(0, dtype=np.int64)
        found = [(nothing, nothing, np.empty(0, dtype=np.float32), nothing)]
        for batch in batches_of(self._loaders, _batches(number, self._config, len(self._pictures))):
            answers = self._ensemble.answer(
                partial(pixels_of, batch), len(batch.ids), self._ensemble.stages()
            )
            best = answers.probabilities.argmax(axis=1)
            probability = answers.probabilities[np.arange(len(best)), best]
            found.append((batch.ids, best, probability, answers.members_used))
        return tuple(np.concatenate(column) for column in zip(*found, strict=True))


def part_size(config: PredictConfig) -> int:
    """Return how many pictures a part has: whole batches, one at least."""
    return config.batch_size * max(1, round(config.part_images / config.batch_size))


def _batches(number: int, config: PredictConfig, total: int) -> Iterator[tuple[Ids, list[int]]]:
    """Yield the ids of each batch of a part, with the seeds that no transform uses."""
    size = part_size(config)
    first, stop = number * size, min((number + 1) * size, total)
    for begin in range(first, stop, config.batch_size):
        ids = np.arange(begin, min(begin + config.batch_size, stop))
        yield ids, [0] * len(ids)
