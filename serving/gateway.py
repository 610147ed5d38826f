"""Admit, decode, and give to a version of the model: what stands between a request and a network.

gateway = Gateway(config)                        # loads the bundle and proves it on the golden images
answers = await gateway.predict([data], Question(top_k=5, views="hflip"))
await gateway.change(rollout)                    # other versions, without a pause

A request is admitted before its body is read, so that the memory of a replica is bounded; what is admitted
ends within `serve.request_timeout_s`, one way or another.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lib.config.paths import input_path
from lib.config.rollout import Rollout
from lib.config.serving import ServeConfig
from lib.errors import MantaError, RunError
from lib.images.spec import PreprocessSpec
from lib.predict.ensemble import Ensemble
from lib.predict.folder import Folder, name_of, read_folder
from lib.predict.member import Prepared
from lib.track.serving_metrics import SERVING
from lib.track.tally import Tally
from serving.counting import increments_of_answers, increments_of_batch
from serving.lineup import Followed, Lineup, build_lineup
from serving.member import Result, usable_cores
from serving.problems import RequestError
from serving.question import Question, check_question
from serving.schemas import Answer, ModelCard, ModelName
from serving.trial import How, Role, Trial, takes
from serving.version import HERE, Placing, Row, Version, usable
from serving.watch import Share, alone, watch

# More decoders than this only compete with the model for cores.
_MAX_DECODERS = 4
log = logging.getLogger("ray.serve")

T = TypeVar("T")


class Gateway:
    """The versions of a model, and the requests that are let in to them.

    `share` tells what candidates did to the other replicas, and brings back what they did there. Raises
    UserError for a bundle that cannot be read, RunError if its golden images come out differently.
    """

    def __init__(
        self,
        config: ServeConfig,
        rollout: Rollout | None = None,
        placing: Placing = HERE,
        share: Share = alone,
    ) -> None:
        self.config = config
        serve = config.serve
        self._placing = placing
        self._share = share
        self._name = url_name(name_of(input_path(config.bundle)))
        self.tally = Tally(SERVING, on=serve.metrics)
        self.disproved: set[str] = set()
        """Versions whose golden images came out differently."""
        self._asked = rollout or Rollout()
        self._use(self._build(self._asked, None))
        self.followed = Followed(self._asked, self.lineup.refused)
        self._watched: Trial | None = None
        self._changing = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()
        self._decoders = ThreadPoolExecutor(min(serve.threads or usable_cores(), _MAX_DECODERS), "decode")
        self._capacity = serve.max_queued + serve.max_batch_size
        self._admitted = 0

    def _build(self, rollout: Rollout, present: Lineup | None) -> Lineup:
        self.disproved.clear()
        return build_lineup(rollout, self._read, self._load, present)

    def _read(self, bundle: str | None) -> Folder:
        return read_folder(input_path(bundle or self.config.bundle))

    def _load(self, folder: Folder) -> Version:
        try:
            return Version(folder, self._name, self.config, self._placing, self._note_batch)
        except RunError:
            self.disproved.add(folder.version)
            raise

    def _note_batch(self, images: int) -> None:
        self.tally.later(increments_of_batch, images)

    def _use(self, lineup: Lineup) -> None:
        self._trial = Trial(lineup, self.tally, self.config.serve)
        for what, why in lineup.refused:
            log.error("refused %s: %s", what, why)

    @property
    def lineup(self) -> Lineup:
        """The versions that are served now."""
        return self._trial.lineup

    @property
    def stable(self) -> Version:
        """The version that answers what no candidate does."""
        return self.lineup.stable

    @property
    def bundle(self) -> Folder:
        """The folder of the stable version."""
        return self.stable.folder

    @property
    def ensemble(self) -> Ensemble:
        """The stable version's."""
        return self.stable.ensemble

    @property
    def name(self) -> ModelName:
        """The name of the endpoint, and the stable version."""
        return self.stable.name

    @property
    def pixels_spec(self) -> PreprocessSpec | None:
        """What every member of the stable version takes; None if they differ."""
        return self.stable.pixels_spec

    @property
    def ready(self) -> bool:
        """Whether the model keeps up; false once a forward pass outlasts every request that waits for it."""
        return self.stable.running_s() < self.config.serve.request_timeout_s

    @property
    def places(self) -> tuple[int, int]:
        """How many requests this replica has admitted, and how many it admits."""
        return self._admitted, self._capacity

    def check_health(self) -> None:
        """Raise RunError if this replica should be replaced."""
        if not self.ready:
            raise RunError(f"the model has been busy with one batch for {self.stable.running_s():.0f} s")

    def close(self) -> None:
        """Let the threads end."""
        self._trial.close()
        for task in self._background:
            task.cancel()
        for version in self.lineup.versions():
            version.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    async def change(self, rollout: Rollout) -> None:
        """Serve what a rollout asks for, once it is loaded and proved; requests go on meanwhile.

        A stable version that cannot be served changes nothing; it is named in `lineup.refused`.
        """
        async with self._changing:
            if rollout == self._asked:
                return  # Serve also says it when the rank of a replica changes
            self._asked = rollout
            self._watched = None  # nothing is taken out of what is being rebuilt
            before = self.lineup
            try:
                lineup = await asyncio.to_thread(self._build, rollout, before)
            except MantaError as error:
                self.refuse(rollout.bundle or self.config.bundle, error)
            else:
                self._trial.close()
                self._use(lineup)
                for version in set(before.versions()) - set(lineup.versions()):
                    self._retire(version)
            self.followed = Followed(rollout, self.lineup.refused)
            self.watch()

    def refuse(self, what: str, error: MantaError) -> None:
        """Note that something is not served although it was asked for."""
        log.error("refused %s, and nothing has changed: %s", what, error.problem)
        self.tally.count("version_refusals")
        self._trial.lineup = replace(self.lineup, refused=((what, error.problem),))

    def watch(self) -> None:
        """Hold the candidates against the rule from now on, if there are both."""
        if self.lineup.candidates and self.lineup.rollout.rollback is not None:
            self._watched = self._trial
            self._start(watch(self._trial, self._share, lambda trial: trial is self._watched, self._retire))

    def _retire(self, version: Version) -> None:
        self._start(version.retire())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

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

    async def predict(self, images: Sequence[bytes], question: Question) -> list[Answer]:
        """Classify encoded images; one that cannot be used refuses the request as a whole.

        Raises `RequestError` (400, 413, 415, 422).
        """
        start = perf_counter() if question.since is None else question.since
        check_question(question, self.stable)
        how = How(question.views)
        with self._chosen(question.request_id, how) as version:
            pictures, decode_s = await self._decode_all(version, images)
            version, found = await self._ask(version, pictures, how, question.request_id)
            self.tally.later(increments_of_answers, version, found, how.views, decode_s)
            answers = version.answers(found, question.top_k, decode_s, perf_counter() - start)
            if question.explain:
                label, limit = question.explain_class, self.config.limits.max_pixels
                await version.explain(images, answers, label, limit)
        return answers

    async def probabilities(
        self, images: Sequence[bytes] | Tensor, request_id: str = "", pinned: str = ""
    ) -> tuple[NDArray[np.float32], ModelName]:
        """Return float32 [n, classes] for encoded images, or float32 [n, c, h, w] as the network takes it.

        Pixels that were prepared by the client are taken as they are, without views; a model whose members
        prepare them differently has no place for them. Also returns who answered: the version that is
        `pinned`, or the one that the id of the request falls to.

        Raises `RequestError` (400, 413, 415, 422).
        """
        how = How("none", given=True) if isinstance(images, Tensor) else How()
        decode_s: list[float] = []
        with self._chosen(request_id, how, pinned) as version:
            if isinstance(images, Tensor):
                spec = version.pixels_spec
                if spec is None:
                    problem = "the members of this model take different pixels"
                    raise RequestError(422, problem, "send the pictures themselves as image")
                pictures = [Prepared.given(pixels, spec) for pixels in images]
            else:
                pictures, decode_s = await self._decode_all(version, images)
            version, found = await self._ask(version, pictures, how, "" if pinned else request_id)
            self.tally.later(increments_of_answers, version, found, how.views, decode_s)
        return np.stack([result.answer[0] for result in found]), version.name

    @contextmanager
    def _chosen(self, request_id: str, how: How, pinned: str = "") -> Iterator[Version]:
        """Choose a version, and keep it and the stable one open until the request has been answered."""
        stable = self.stable
        version = self.lineup.pinned(pinned) if pinned else self.lineup.choose(request_id)
        if version is not stable and not pinned and not takes(version, stable, how):
            version = stable
        with version.busy(), stable.busy():
            yield version

    async def _ask(
        self, version: Version, pictures: Sequence[Prepared], how: How, request_id: str
    ) -> tuple[Version, list[Result[Row]]]:
        """Let a version answer; if a candidate fails, the stable one does. Returns who did."""
        trial = self._trial
        stable = trial.lineup.stable
        if version is stable or not request_id:
            role: Role = "stable" if version is stable else "canary"
            found = await trial.ask(version, role, pictures, how)
        else:
            try:
                # The other half is for the stable version.
                async with asyncio.timeout(self.config.serve.request_timeout_s / 2):
                    found = await trial.ask(version, "canary", pictures, how)
            except RequestError:
                raise
            except Exception as error:
                if isinstance(error, TimeoutError):
                    trial.timed_out(version)
                log.warning("version %s failed: %r", version.name.version, error)
                version, found = stable, await trial.ask(stable, "stable", pictures, how)
        if trial.lineup.candidates and request_id:
            trial.compare(request_id, version, pictures, how, found)
        return version, found

    async def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run something that takes its time in a thread, so that the event loop stays free."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, function, *arguments)

    async def _decode_all(
        self, version: Version, images: Sequence[bytes]
    ) -> tuple[list[Prepared], list[float]]:
        """Return the pictures, and the seconds that each took."""
        outcomes = await asyncio.gather(
            *(self._decode(version, data) for data in images), return_exceptions=True
        )
        decoded: list[tuple[Prepared, float]] = usable(outcomes)
        return [picture for picture, _ in decoded], [seconds for _, seconds in decoded]

    async def _decode(self, version: Version, data: bytes) -> tuple[Prepared, float]:
        start = perf_counter()
        picture = await self.aside(version.ensemble.prepare, data, self.config.limits.max_pixels)
        return picture, perf_counter() - start

    def card(self) -> ModelCard:
        """Describe what is being served."""
        return self.stable.card().model_copy(update={"versions": self.lineup.served()})


def url_name(name: str) -> str:
    """Make a model's name fit into a URL: `my run` becomes `my-run`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)
