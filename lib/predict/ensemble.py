"""An ensemble that answers: bytes to probabilities, asking only as many members as an image needs.

ensemble = Ensemble.load("runs/ensembles/pets")            # or a bundle, an ensemble of one
answers = ensemble.run([ensemble.prepare(path.read_bytes())])
answers.probabilities, answers.members_used                # [n, classes], [n]

The views of a picture go through a network as one batch, and their probabilities are averaged. With a cascade
the members are asked one after the other: images that are confident enough leave, and the others go on as a
smaller batch.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib.bundle import Bundle
from lib.calibration import softmax, tempered
from lib.images.decode import MAX_PIXELS
from lib.images.spec import PreprocessSpec
from lib.images.views import VIEWS
from lib.predict.combine import combine
from lib.predict.engines import Engine, check_answer, choose_engine, tolerance_of
from lib.predict.folder import Folder, read_folder
from lib.predict.member import Member, Prepared, kind_of

Rows = NDArray[np.int64]
# Makes what runs the network of a bundle, and proves it on the golden picture.
MakeEngine = Callable[[Bundle], Engine]
# Gives the pixels of some images of a batch, uint8 [rows, c, h, w], in the kind that a network takes.
Pixels = Callable[[PreprocessSpec, Rows], Tensor]
# A member, and the views that it has not seen of these images.
Question = tuple[Member, Tensor, list[str]]
Logits = NDArray[np.float32]
# Calls a function for each question, in any order or at once; yields logits in the order of the questions.
AskAll = Callable[[Callable[[Question], Logits], Iterable[Question]], Iterable[Logits]]


@dataclass(frozen=True)
class Answers:
    """Probabilities float32 [n, classes], and how many members each image needed, int64 [n]."""

    probabilities: NDArray[np.float32]
    members_used: Rows
    cost_ms: NDArray[np.float64]
    """[n]: what those members cost where the ensemble was made; 0 for a bundle, which does not say."""
    networks_s: float = 0.0
    """Time in the networks, of all images together."""


@dataclass(frozen=True)
class Stage:
    """A member that is asked, and when an image may stop after it; the last stage stops all."""

    member: int
    views: str
    threshold: float | None
    temperature: float


class Ensemble:
    """Runs the members of an ensemble one after the other, each with its engine.

    `ask_all` may ask members at once that are all asked anyway, where they run elsewhere.
    """

    def __init__(
        self, folder: Folder, make_engine: MakeEngine = choose_engine, ask_all: AskAll = map
    ) -> None:
        self.folder = folder
        self._ask_all = ask_all
        self.members = [
            Member(
                bundle=bundle,
                engine=make_engine(bundle),
                spec=bundle.preprocess,
                order=np.array([bundle.classes.index(name) for name in folder.classes]),
                weight=entry.weight,
                temperature=entry.temperature,
            )
            for bundle, entry in zip(folder.bundles, folder.manifest.members, strict=True)
        ]
        self._weights = np.array([member.weight for member in self.members])

    @classmethod
    def load(cls, path: str | Path, make_engine: MakeEngine = choose_engine) -> Self:
        """Open an ensemble or a bundle; raises `UserError` as `read_folder` does."""
        return cls(read_folder(Path(path)), make_engine)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by index."""
        return self.folder.classes

    @property
    def kinds(self) -> list[PreprocessSpec]:
        """The kinds of pixels that the members take, each once; that of the first to be asked comes first."""
        specs = (self.members[stage.member].spec for stage in self.stages())
        return list({kind_of(spec): spec for spec in specs}.values())

    def stages(self, views: str | None = None, *, cascade: bool = True) -> list[Stage]:
        """Return whom to ask in which order: the cascade, if it was fitted to these views, else everybody."""
        manifest = self.folder.manifest
        views = views or manifest.views
        fitted = manifest.cascade
        if fitted is None or not cascade or views != manifest.views:
            everybody = range(len(self.members))
            return [Stage(member, views, None, manifest.temperature) for member in everybody]
        thresholds, temperatures = [*fitted.thresholds, None], [*fitted.temperatures, manifest.temperature]
        return list(map(Stage, fitted.order, fitted.views, thresholds, temperatures))

    def prepare(self, data: bytes, max_pixels: int = MAX_PIXELS) -> Prepared:
        """Decode a picture for the members that are sure to be asked; raises `ImageError` if it is none."""
        prepared = Prepared(data, max_pixels)
        for spec in self.kinds[:1] if self.folder.manifest.cascade else self.kinds:
            prepared.pixels(spec)
        return prepared

    def run(self, batch: Sequence[Prepared], views: str | None = None, *, cascade: bool = True) -> Answers:
        """Answer prepared pictures with the ensemble's own views or others, which ask every member."""

        def pixels(spec: PreprocessSpec, rows: Rows) -> Tensor:
            return torch.stack([batch[row].pixels(spec) for row in rows])

        return self.answer(pixels, len(batch), self.stages(views, cascade=cascade))

    def predict(
        self, images: Sequence[bytes], views: str | None = None, batch_size: int = 32
    ) -> NDArray[np.float32]:
        """Return float32 [n, classes] for the bytes of n pictures."""
        parts = [np.empty((0, len(self.classes)), dtype=np.float32)]
        for first in range(0, len(images), batch_size):
            batch = [self.prepare(data) for data in images[first : first + batch_size]]
            parts.append(self.run(batch, views).probabilities)
        return np.concatenate(parts)

    def answer(self, pixels: Pixels, count: int, stages: Sequence[Stage]) -> Answers:
        """Answer `count` images, whose pixels are fetched stage by stage for those that are still there."""
        probabilities = np.empty((count, len(self.classes)), np.float32)
        members_used, cost_ms, networks_s = np.zeros(count, np.int64), np.zeros(count), 0.0
        sums = np.zeros((len(self.members), count, len(self.classes)))
        seen: list[set[str]] = [set() for _ in self.members]
        rows = np.arange(count)
        for group in _groups(stages):
            if not len(rows):
                break
            start = perf_counter()
            cost_ms[rows] += self._ask(group, pixels, rows, sums, seen)
            networks_s += perf_counter() - start
            stage = group[-1]
            last = stage is stages[-1]
            asked = [member for member, views in enumerate(seen) if views]
            counts = np.array([len(seen[member]) for member in asked])
            each, weights = sums[asked][:, rows] / counts[:, None, None], self._weights[asked]
            mean = tempered(combine(each, weights, "mean"), stage.temperature)
            done = np.full(len(rows), last)
            if stage.threshold is not None:
                done |= mean.max(axis=1) >= stage.threshold
            voted = self.folder.manifest.vote == "hard"
            final = combine(each[:, done], weights, "votes") if voted else mean[done]
            probabilities[rows[done]] = final
            members_used[rows[done]] = len(asked)
            rows = rows[~done]
        return Answers(probabilities, members_used, cost_ms, networks_s)

    def full_cost_ms(self, views: str | None = None) -> float:
        """Return what an image costs if all members are asked, with these views or the ensemble's own."""
        count = len(VIEWS[views or self.folder.manifest.views])
        return count * sum(entry.cost for entry in self.folder.manifest.members)

    def _ask(
        self,
        stages: Sequence[Stage],
        pixels: Pixels,
        rows: Rows,
        sums: NDArray[np.float64],
        seen: list[set[str]],
    ) -> float:
        """Add the members' probabilities [members, n, classes] for the views that they have not seen yet.

        Returns what that costs an image, in milliseconds.
        """
        cost_ms = 0.0

        def questions() -> Iterator[Question]:
            nonlocal cost_ms
            for stage in stages:
                member = self.members[stage.member]
                fresh = [name for name in VIEWS[stage.views] if name not in seen[stage.member]]
                seen[stage.member].update(fresh)
                cost_ms += len(fresh) * self.folder.manifest.members[stage.member].cost
                yield member, pixels(member.spec, rows), fresh

        found = self._ask_all(lambda question: question[0].logits(*question[1:]), questions())
        for stage, logits in zip(stages, found, strict=True):
            temperature = self.members[stage.member].temperature
            sums[stage.member, rows] += softmax(logits, temperature).sum(axis=0)
        return cost_ms

    def golden_check(self, device: str = "cpu") -> None:
        """Predict the golden picture of the ensemble; its members have proved themselves on their own.

        Raises `RunError` if a probability differs by more than the engines of the members may.
        """
        if len(self.members) == 1:
            return
        golden = self.folder.golden()
        found = self.run([Prepared(golden.data)], cascade=False).probabilities[0]
        tolerance = max(tolerance_of(member.engine, device) for member in self.members)
        check_answer(found, golden.probabilities, tolerance, "with all members", self.folder.path)


def _groups(stages: Sequence[Stage]) -> Iterator[list[Stage]]:
    """Yield runs of stages after which an image may stop; within one, whom to ask hangs on no answer."""
    group: list[Stage] = []
    for stage in stages:
        group.append(stage)
        if stage.threshold is not None or stage is stages[-1]:
            yield group
            group = []
