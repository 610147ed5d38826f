"""One version of the model: a bundle or an ensemble, loaded and proved, with a queue and a thread of its own.

version = Version(read_folder(path), "digits", config)     # raises unless its golden images come out right
pictures = [version.ensemble.prepare(data)]
found = await version.run(pictures, "hflip")
answers = version.answers(found, top_k=5)
"""

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lib.bundle import Bundle
from lib.config.serving import ServeConfig, ServeSection
from lib.images.decode import ImageError
from lib.images.spec import PreprocessSpec
from lib.predict.engines import Engine, Wanted, choose_engine
from lib.predict.ensemble import AskAll, Ensemble
from lib.predict.folder import Folder
from lib.predict.member import Prepared
from serving.card import card_of
from serving.explanations import Explanations
from serving.member import Member, Result, usable_cores
from serving.problems import from_image
from serving.schemas import Answer, ModelCard, ModelName, Prediction, Timing

# How often a version that is left looks whether its last request has ended.
_RETIRING_S = 0.05
log = logging.getLogger("ray.serve")


class Row(NamedTuple):
    """The answer to an image."""

    probabilities: NDArray[np.float32]
    """[classes]"""
    members: int
    """How many were asked."""
    cost_ms: float
    """What they cost where the ensemble was made."""
    combine_s: float
    """Time that the batch took beside the networks."""


@dataclass(frozen=True)
class Placing:
    """Where the members of an ensemble run, by default here."""

    make_engine: Callable[[Bundle], Engine] | None = None
    ask_all: AskAll = map
    at_once: int = 1
    """Batches that are under way at the same time."""


HERE = Placing()


class Version:
    """A bundle or an ensemble that answers under the name of the endpoint.

    Raises UserError if no engine is as wanted, RunError if its golden images come out differently.
    """

    def __init__(
        self,
        folder: Folder,
        name: str,
        config: ServeConfig,
        placing: Placing = HERE,
        tell_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.folder = folder
        self.name = ModelName(name=name, version=folder.version)
        self._serve = config.serve
        self._requests = 0
        self._member: Member[Prepared, Row | ImageError] = Member(
            self._forward, self._serve.max_batch_size, self._serve.threads, placing.at_once, tell_batch
        )
        try:
            # In the thread that will run it: that is where it is measured, and proved on the golden images.
            self.ensemble: Ensemble = self._member.call(partial(self._load, placing))
        except BaseException:
            self._member.close()
            raise
        self._explanations = Explanations(folder.bundles[0], self._member.aside, device_of(self._serve))

    def _load(self, placing: Placing) -> Ensemble:
        make_engine = placing.make_engine or partial(choose_engine, wanted=wanted(self._serve), tell=log.info)
        ensemble = Ensemble(self.folder, make_engine, placing.ask_all)
        ensemble.golden_check(device_of(self._serve))
        return ensemble

    @property
    def pixels_spec(self) -> PreprocessSpec | None:
        """What every member takes; None if they differ."""
        specs = {member.spec for member in self.ensemble.members}
        return specs.pop() if len(specs) == 1 else None

    def allows(self, views: str | None) -> bool:
        """Tell whether a request may choose these views; None is for the version's own."""
        return views is None or views in self.folder.manifest.allowed_views

    async def run(
        self, pictures: Sequence[Prepared], views: str | None = None, *, given: bool = False
    ) -> list[Result[Row]]:
        """Answer pictures; normalised pixels (`given`) and others are never in one batch.

        Raises `RequestError` for a picture that turns out to be broken.
        """
        kind = (views or self.folder.manifest.views, given)
        results = await asyncio.gather(*(self._member.run(picture, kind) for picture in pictures))
        usable([result.answer for result in results])
        return results  # type: ignore[return-value]  # none of them is an ImageError any more

    def answers(
        self, found: Sequence[Result[Row]], top_k: int | None, decode_s: Sequence[float], total_s: float
    ) -> list[Answer]:
        """Say what was found, with the `top_k` most likely classes."""
        count = top_k or min(5, len(self.folder.classes))
        return [
            self._answer(result, count, seconds, total_s)
            for result, seconds in zip(found, decode_s, strict=True)
        ]

    def _answer(self, result: Result[Row], top_k: int, decode_s: float, total_s: float) -> Answer:
        probabilities, members_used, *_ = result.answer
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        return Answer(
            predictions=[
                Prediction(
                    label=self.folder.classes[index],
                    index=int(index),
                    probability=min(1.0, float(probabilities[index])),
                )
                for index in best
            ],
            model=self.name,
            members_used=members_used,
            timing_ms=Timing(
                decode=_ms(decode_s),
                queue=_ms(result.queue_s),
                forward=_ms(result.forward_s),
                total=_ms(total_s),
            ),
        )

    async def explain(
        self, images: Sequence[bytes], answers: Sequence[Answer], label: str | None, max_pixels: int
    ) -> None:
        """Add to each answer a heat map for a class, or for the most likely one.

        Raises `RequestError` (422) for a network that has nothing to show.
        """
        for data, answer in zip(images, answers, strict=True):
            why = answer.predictions[0].label if label is None else label
            answer.explanation = await self._explanations.explain(data, why, max_pixels)

    def card(self) -> ModelCard:
        """Describe it."""
        return card_of(self.ensemble, self.name)

    def running_s(self) -> float:
        """Seconds that its present forward pass has been running; 0 when there is none."""
        return self._member.running_s()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep it open while a request is with it."""
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def retire(self) -> None:
        """Let it go once nobody waits for it any more."""
        while self._requests:
            await asyncio.sleep(_RETIRING_S)
        self.close()

    def close(self) -> None:
        """Let its thread end."""
        self._member.close()

    def _forward(self, batch: Sequence[Prepared], kind: Hashable) -> list[Row | ImageError]:
        assert isinstance(kind, tuple)
        views, _ = kind
        start = perf_counter()
        try:
            answers = self.ensemble.run(batch, views)
        except ImageError as error:
            # A member that is asked later sees more of a picture, and that part was broken. The pictures of
            # others do not suffer from it.
            return [error] if len(batch) == 1 else [self._forward([each], kind)[0] for each in batch]
        combine_s = perf_counter() - start - answers.networks_s
        members, costs_ms = answers.members_used.tolist(), answers.cost_ms.tolist()
        rows = zip(answers.probabilities, members, costs_ms, strict=True)
        return [Row(*row, combine_s) for row in rows]


def usable(outcomes: Sequence[Any]) -> list[Any]:
    """Return the outcomes of the images of a request; raises what went wrong with one."""
    for place, outcome in enumerate(outcomes, 1):
        if isinstance(outcome, ImageError):
            raise from_image(outcome, f"file {place}: " if len(outcomes) > 1 else "")
        if isinstance(outcome, BaseException):
            raise outcome
    return list(outcomes)


def wanted(serve: ServeSection) -> Wanted:
    """Return what the options ask of an engine."""
    return Wanted(
        serve.engine,
        serve.precision,
        threads=serve.threads or usable_cores(),
        max_batch_size=serve.max_batch_size,
        device=device_of(serve),
    )


def device_of(serve: ServeSection) -> str:
    """Return the device that the options ask for."""
    return "cuda" if serve.use_gpu else "cpu"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
