"""Decode, batch and run in one replica: what stands between an HTTP request and a model.

gateway = Gateway(config)                        # loads the bundle and proves it on the golden images
answers = await gateway.predict([data], top_k=5, views="hflip")

A request is admitted before its body is read, so that the memory of a replica is bounded; what is admitted
ends within `serve.request_timeout_s`, one way or another.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lib.config.serving import ServeConfig, ServeSection
from lib.errors import RunError
from lib.images.decode import ImageError
from lib.images.spec import PreprocessSpec
from lib.predict.engines import Wanted, choose_engine
from lib.predict.ensemble import Ensemble
from lib.predict.member import Prepared
from serving.card import card_of
from serving.explanations import Explanations
from serving.member import Member, Result, usable_cores
from serving.problems import RequestError, from_image
from serving.schemas import Answer, ModelCard, ModelName, Prediction, Timing

# More decoders than this only compete with the model for cores.
_MAX_DECODERS = 4
# Probabilities float32 [classes], and how many members were asked.
_Found = tuple[NDArray[np.float32], int]
log = logging.getLogger("ray.serve")

T = TypeVar("T")


class Gateway:
    """A bundle or an ensemble that takes requests.

    Raises UserError for a bundle that cannot be read, RunError if its golden images come out differently.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        serve = config.serve
        self._member: Member[Prepared, _Found | ImageError] = Member(
            self._forward, serve.max_batch_size, serve.threads
        )
        # In the thread that will run it: that is where it is measured, and proved on the golden images.
        self.ensemble: Ensemble = self._member.call(partial(self._load, config))
        self.bundle = self.ensemble.folder
        self.name = ModelName(name=url_name(self.bundle.name), version=self.bundle.version)
        device = "cuda" if serve.use_gpu else "cpu"
        self._explanations = Explanations(self.ensemble.members[0].bundle, self._member.aside, device)
        self._decoders = ThreadPoolExecutor(min(serve.threads or usable_cores(), _MAX_DECODERS), "decode")
        self._capacity = serve.max_queued + serve.max_batch_size
        self._admitted = 0

    @staticmethod
    def _load(config: ServeConfig) -> Ensemble:
        make_engine = partial(choose_engine, wanted=_wanted(config.serve), tell=log.info)
        ensemble = Ensemble.load(config.bundle, make_engine)
        ensemble.golden_check("cuda" if config.serve.use_gpu else "cpu")
        return ensemble

    @property
    def ready(self) -> bool:
        """Whether the model keeps up; false once a forward pass outlasts every request that waits for it."""
        return self._member.running_s() < self.config.serve.request_timeout_s

    def check_health(self) -> None:
        """Raise RunError if this replica should be replaced."""
        if not self.ready:
            raise RunError(f"the model has been busy with one batch for {self._member.running_s():.0f} s")

    def close(self) -> None:
        """Let the threads end."""
        self._member.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def admission(self) -> AsyncIterator[None]:
        """Hold one of the places of this replica, for no longer than the time that a request may take.

        Raises `RequestError`: 429 when all places are taken, 503 when the model is stuck, 504 in the end.
        """
        if not self.ready:
            raise RequestError(503, "the model is not ready", "wait for GET /v2/health/ready")
        if self._admitted >= self._capacity:
            problem = f"the queue is full: {self._admitted} requests are being worked on"
            raise RequestError(429, problem, "try again in a second", {"Retry-After": "1"})
        self._admitted += 1
        limit_s = self.config.serve.request_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                yield
        except TimeoutError:
            problem = f"the request took longer than {limit_s:g} s"
            raise RequestError(504, problem, "try again, or raise serve.request_timeout_s") from None
        finally:
            self._admitted -= 1

    async def predict(
        self,
        images: Sequence[bytes],
        top_k: int | None = None,
        since: float | None = None,
        views: str | None = None,
    ) -> list[Answer]:
        """Classify encoded images; one that cannot be used refuses the request as a whole.

        `views` are others than the model's own, among those that it allows; `since` is the `perf_counter` at
        which the request came in, for its total time.

        Raises `RequestError` (400, 413, 415, 422).
        """
        start = perf_counter() if since is None else since
        classes = len(self.bundle.classes)
        if top_k is not None and not 1 <= top_k <= classes:
            raise RequestError(422, f"top_k={top_k} is out of range", f"this model has {classes} classes")
        self._check_views(views)
        pictures = await self._decode_all(images)
        found, results = await self._run([picture for picture, _ in pictures], views)
        total = perf_counter() - start
        return [
            self._answer(answer, result, top_k or min(5, classes), decode_s, total)
            for answer, result, (_, decode_s) in zip(found, results, pictures, strict=True)
        ]

    async def probabilities(self, images: Sequence[bytes] | Tensor) -> NDArray[np.float32]:
        """Return float32 [n, classes] for encoded images, or float32 [n, c, h, w] as the network takes it.

        Pixels that were prepared by the client are taken as they are, without views; a model whose members
        prepare them differently has no place for them.

        Raises `RequestError` (400, 413, 415, 422).
        """
        if isinstance(images, Tensor):
            spec = self.pixels_spec
            if spec is None:
                problem = "the members of this model take different pixels"
                raise RequestError(422, problem, "send the pictures themselves as image")
            given = [Prepared.given(pixels, spec) for pixels in images]
            found, _ = await self._run(given, "none", given=True)
        else:
            found, _ = await self._run([picture for picture, _ in await self._decode_all(images)])
        return np.stack([probabilities for probabilities, _ in found])

    @property
    def pixels_spec(self) -> PreprocessSpec | None:
        """What every member takes; None if they differ."""
        specs = {member.spec for member in self.ensemble.members}
        return specs.pop() if len(specs) == 1 else None

    async def _run(
        self, pictures: Sequence[Prepared], views: str | None = None, *, given: bool = False
    ) -> tuple[list[_Found], list[Result[_Found | ImageError]]]:
        # Normalised pixels (`given`) and others are never in one batch.
        kind = (views or self.bundle.manifest.views, given)
        results = await asyncio.gather(*(self._member.run(picture, kind) for picture in pictures))
        return _usable([result.answer for result in results]), results

    async def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run something that takes its time in a thread, so that the event loop stays free."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, function, *arguments)

    async def _decode_all(self, images: Sequence[bytes]) -> list[tuple[Prepared, float]]:
        return _usable(await asyncio.gather(*map(self._decode, images), return_exceptions=True))

    async def explain(self, images: Sequence[bytes], answers: Sequence[Answer], label: str | None) -> None:
        """Add to each answer a heat map for a class, or for the most likely one.

        Raises `RequestError` (422) for an unknown class, or a network that has nothing to show.
        """
        if label is not None and label not in self.bundle.classes:
            raise RequestError(422, f"there is no class {label}", "GET /model lists the classes")
        limit = self.config.limits.max_pixels
        for data, answer in zip(images, answers, strict=True):
            why = answer.predictions[0].label if label is None else label
            answer.explanation = await self._explanations.explain(data, why, limit)

    def _check_views(self, views: str | None) -> None:
        allowed = self.bundle.manifest.allowed_views
        if views is not None and views not in allowed:
            hint = f"this model has views={' or views='.join(allowed)}"
            raise RequestError(422, f"views={views} is not among the views of this model", hint)

    def _forward(self, batch: Sequence[Prepared], kind: Hashable) -> list[_Found | ImageError]:
        assert isinstance(kind, tuple)
        views, _ = kind
        try:
            answers = self.ensemble.run(batch, views)
        except ImageError as error:
            # A member that is asked later sees more of a picture, and that part was broken. The pictures of
            # others do not suffer from it.
            return [error] if len(batch) == 1 else [self._forward([each], kind)[0] for each in batch]
        return list(zip(answers.probabilities, answers.members_used.tolist(), strict=True))

    async def _decode(self, data: bytes) -> tuple[Prepared, float]:
        start = perf_counter()
        picture = await self.aside(self.ensemble.prepare, data, self.config.limits.max_pixels)
        return picture, perf_counter() - start

    def _answer(
        self, found: _Found, result: Result[Any], top_k: int, decode_s: float, total_s: float
    ) -> Answer:
        probabilities, members_used = found
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        return Answer(
            predictions=[
                Prediction(
                    label=self.bundle.classes[index],
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

    def card(self) -> ModelCard:
        """Describe what is being served."""
        return card_of(self.ensemble, self.name)


def _usable(outcomes: Sequence[T | BaseException]) -> list[T]:
    """Return the outcomes of the images of a request; raises what went wrong with one."""
    usable = []
    for place, outcome in enumerate(outcomes, 1):
        if isinstance(outcome, ImageError):
            raise from_image(outcome, f"file {place}: " if len(outcomes) > 1 else "")
        if isinstance(outcome, BaseException):
            raise outcome
        usable.append(outcome)
    return usable


def _wanted(serve: ServeSection) -> Wanted:
    return Wanted(
        serve.engine,
        serve.precision,
        threads=serve.threads or usable_cores(),
        max_batch_size=serve.max_batch_size,
        device="cuda" if serve.use_gpu else "cpu",
    )


def url_name(name: str) -> str:
    """Make a model's name fit into a URL: `my run` becomes `my-run`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
