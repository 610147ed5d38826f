"""The members of an ensemble in deployments of their own, for those too large to be in one replica together.

placing = elsewhere(handles, config.serve, asyncio.get_running_loop())   # by the version of the bundle
version = Version(read_folder(path), "pets", config, placing)

The gateway decodes, batches, combines and stops early as it does with members of its own: it only asks
elsewhere for the logits. Members batch what comes from all gateways.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lib.bundle import Bundle, read_bundle
from lib.config.serving import ServeConfig, ServeSection
from lib.errors import RunError, UserError
from lib.predict.engines import Engine, choose_engine
from serving.member import Member
from serving.version import Placing, log, wanted

# A member works at one batch, and has the next one beside it.
TARGET_ONGOING = 2.0
# A gateway takes care of itself; what it needs most is its event loop.
GATEWAY_CORES = 1


class MemberReplica:
    """One network. What Serve starts, checks and stops."""

    def __init__(self, path: str, config: ServeConfig) -> None:
        self._timeout_s = config.serve.request_timeout_s
        self._member: Member[torch.Tensor, NDArray[np.float32]] = Member(
            self._forward, config.serve.max_batch_size, config.serve.threads
        )
        choose = partial(choose_engine, read_bundle(Path(path)), wanted(config.serve), log.info)
        self._engine: Engine = self._member.call(choose)

    async def describe(self) -> tuple[str, str]:
        """Return name and precision of the engine."""
        return self._engine.name, self._engine.precision

    async def logits(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Return float32 [n, classes] for uint8 [n, c, h, w], or for normalised float32."""
        # One by one, so that images of several requests and gateways make a batch.
        kind = pixels.dtype.str
        # Ray's arrays cannot be written to, and torch wants to be told so.
        given = torch.from_numpy(pixels.copy())
        found = await asyncio.gather(*(self._member.run(each, kind) for each in given))
        return np.stack([result.answer for result in found])

    def check_health(self) -> None:
        """Raise RunError if this replica should be replaced."""
        if self._member.running_s() > self._timeout_s:
            raise RunError(f"the network has been busy with one batch for {self._member.running_s():.0f} s")

    def _forward(self, batch: Any, _: object) -> list[NDArray[np.float32]]:
        return list(self._engine(torch.stack(list(batch))).numpy())

    def __del__(self) -> None:
        if hasattr(self, "_member"):
            self._member.close()


def elsewhere(handles: Mapping[str, Any], serve: ServeSection, loop: asyncio.AbstractEventLoop) -> Placing:
    """Return a placing that asks the deployments behind these handles, by the version of the bundle.

    The handles belong to `loop`; networks are asked from other threads.
    """
    at_once = 2 * serve.max_replicas
    pool = ThreadPoolExecutor(at_once * len(handles), "ask")

    def wait_for(call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return asyncio.run_coroutine_threadsafe(call(), loop).result()

    def make_engine(bundle: Bundle) -> Engine:
        if bundle.version not in handles:
            problem = f"{bundle.path} is not among the members that this endpoint was started with"
            raise UserError(problem, "with serve.placement=split, another ensemble needs another deployment")
        handle = handles[bundle.version]

        async def describe() -> Any:
            return await handle.describe.remote()

        async def ask(pixels: NDArray[Any]) -> Any:
            return await handle.logits.remote(pixels)

        def forward(pixels: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(np.array(wait_for(partial(ask, pixels.numpy()))))

        name, precision = wait_for(describe)
        return Engine(name, precision, forward)

    return Placing(make_engine, pool.map, at_once)
