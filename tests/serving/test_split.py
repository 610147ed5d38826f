"""Members asked elsewhere, here in the same process: the same answers, in as many batches at a time."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.config.serving import ServeConfig
from lib.errors import UserError
from lib.predict.ensemble import Ensemble
from lib.predict.folder import read_folder
from serving.split import MemberReplica, elsewhere
from serving.version import Version

Picture = Callable[..., bytes]


class Handle:
    """As Serve's: `handle.logits.remote(pixels)` is to be awaited. The real one is in test_rollout.py."""

    def __init__(self, replica: MemberReplica) -> None:
        self.calls: list[int] = []
        self.replica = replica
        self.describe, self.logits = self, self

    async def remote(self, *pixels: Any) -> Any:
        if not pixels:
            return await self.replica.describe()
        self.calls.append(len(pixels[0]))
        return await self.replica.logits(*pixels)


@pytest.fixture
def config(ensemble_path: Path) -> ServeConfig:
    serve = {"engine": "torch", "placement": "split", "max_replicas": 2}
    return ServeConfig.model_validate({"bundle": str(ensemble_path), "serve": serve})


@pytest.fixture
def handles(config: ServeConfig) -> Iterator[dict[str, Handle]]:
    bundles = read_folder(Path(config.bundle)).bundles
    made = {bundle.version: Handle(MemberReplica(str(bundle.path), config)) for bundle in bundles}
    yield made
    for handle in made.values():
        handle.replica._member.close()


@pytest.mark.parametrize("views", [None, "none"])
def test_the_same_answers_as_here(
    config: ServeConfig, handles: dict[str, Handle], picture: Picture, views: str | None
) -> None:
    folder = read_folder(Path(config.bundle))
    images = [picture(seed, 40, 40) for seed in range(20)]

    async def run() -> tuple[Any, Any]:
        placing = elsewhere(handles, config.serve, asyncio.get_running_loop())
        version = await asyncio.to_thread(Version, folder, "pair", config, placing)
        engines = [(member.engine.name, member.engine.precision) for member in version.ensemble.members]
        assert engines == [("torch", "fp32")] * 2
        found = await version.run([version.ensemble.prepare(image) for image in images], views)
        version.close()
        return [result.answer[0] for result in found], [result.answer[1] for result in found]

    probabilities, members_used = asyncio.run(run())
    here = Ensemble(folder)
    expected = here.run([here.prepare(image) for image in images], views)
    np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-5)
    assert members_used == expected.members_used.tolist()
    asked = [sum(handle.calls[1:]) for handle in handles.values()]  # the first was the golden picture
    assert max(asked) >= len(images)


def test_pixels_that_a_client_normalised(config: ServeConfig, handles: dict[str, Handle]) -> None:
    replica = next(iter(handles.values())).replica
    spec = read_folder(Path(config.bundle)).bundles[0].preprocess
    pixels = np.random.default_rng(0).integers(0, 255, (3, spec.channels, spec.image_size, spec.image_size))

    async def run() -> list[Any]:
        mean, std = (np.array(each, np.float32)[:, None, None] for each in (spec.mean, spec.std))
        normalised = ((pixels / 255 - mean) / std).astype(np.float32)
        return await asyncio.gather(replica.logits(pixels.astype(np.uint8)), replica.logits(normalised))

    raw, given = asyncio.run(run())
    assert raw.shape == (3, 10)
    np.testing.assert_allclose(raw, given, atol=1e-4)


def test_another_ensemble_needs_another_deployment(
    config: ServeConfig, handles: dict[str, Handle], bundle_path: Path
) -> None:
    async def run() -> None:
        placing = elsewhere(handles, config.serve, asyncio.get_running_loop())
        await asyncio.to_thread(Version, read_folder(bundle_path), "pair", config, placing)

    with pytest.raises(UserError, match="not among the members"):
        asyncio.run(run())
