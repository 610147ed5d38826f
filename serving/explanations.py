"""Heat maps on request: the first member's Grad-CAM for a picture that was answered.

explanations = Explanations(bundle, member.aside)
explanation = await explanations.explain(data, label="cat", max_pixels=50_000_000)
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

from lib.bundle import Bundle
from lib.errors import UserError
from lib.images.overlay import overlay
from lib.images.preprocess import prepare
from lib.predict.explain import Explainer
from serving.problems import RequestError
from serving.schemas import Explanation


class Explanations:
    """Explains one picture at a time, so that a batch waits for one forward and one backward pass at most.

    `run` is `Member.aside`: the passes belong in the model's thread, or both would fight for the cores.
    """

    def __init__(self, bundle: Bundle, run: Callable[..., Awaitable[Any]], device: str = "cpu") -> None:
        self._bundle = bundle
        self._run = run
        self._explainer = Explainer(bundle, device)
        self._turn = asyncio.Lock()

    async def explain(self, data: bytes, label: str, max_pixels: int) -> Explanation:
        """Explain why an encoded picture, which decodes, might be a `label`, one of the bundle's classes.

        Raises `RequestError` (422) for a network without a map of features.
        """
        async with self._turn:
            await asyncio.to_thread(self._explainer.load)
            pixels = await asyncio.to_thread(prepare, data, self._bundle.preprocess, max_pixels)
            try:
                heat = await self._run(self._explainer.heat, pixels, self._bundle.classes.index(label))
            except UserError as error:
                raise RequestError(422, error.problem, error.hint) from None
            png = await asyncio.to_thread(overlay, pixels, heat)
        return Explanation(label=label, arch=self._bundle.arch, png=base64.b64encode(png).decode())
