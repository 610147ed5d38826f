"""A client of an endpoint: typed answers, typed errors, and no more retries than the endpoint agrees with.

with Client("http://127.0.0.1:8000") as client:
    answer = client.predict("cat.jpg")                     # a path, bytes or a PIL image
    print(answer.predictions[0].label)

async with AsyncClient("http://127.0.0.1:8000", token="…") as client:
    answers = await client.predict_many(["cat.jpg", "dog.jpg"], top_k=3)

Refusals raise `EndpointError`, an endpoint that does not answer `Unreachable` (both in serving.attempts). It
needs httpx and pydantic, and imports neither torch nor Ray.
"""

import asyncio
import io
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

try:
    import httpx
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("serving.client needs httpx: pip install 'manta[client]'") from error
from PIL.Image import Image as Picture

from serving.attempts import Attempts, EndpointError, Retries, Unreachable
from serving.schemas import ANSWERS, Answer, ModelCard

__all__ = ["AsyncClient", "Client", "EndpointError", "Image", "Retries", "Unreachable"]

# A path, the bytes of a picture file, or a picture of Pillow.
Image = str | Path | bytes | Picture
_USUAL = Retries()
_HEALTH = "v2/health/ready"


class Client:
    """Asks and waits. Threads may share one.

    `timeout_s` is for each attempt. `explain` is true for a heat map of the most likely class, or names one;
    `views` are of those that `model()` allows.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        timeout_s: float = 60.0,
        retries: Retries = _USUAL,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._retries = retries
        self._http = httpx.Client(
            base_url=url, headers=_headers(token), timeout=timeout_s, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(
        self,
        image: Image,
        *,
        top_k: int | None = None,
        views: str | None = None,
        explain: bool | str = False,
    ) -> Answer:
        """Classify one image."""
        asked = self._http.build_request(**_question([image], top_k, views, explain))
        return _answers(self._send(asked))[0]

    def predict_many(
        self,
        images: Sequence[Image],
        *,
        top_k: int | None = None,
        views: str | None = None,
        explain: bool | str = False,
    ) -> list[Answer]:
        """Classify several images in one request, answered in their order."""
        if not images:
            return []
        asked = self._http.build_request(**_question(images, top_k, views, explain))
        return _answers(self._send(asked))

    def model(self) -> ModelCard:
        """Ask what is being served."""
        return ModelCard.model_validate_json(self._send(self._http.build_request("GET", "model")))

    def ready(self) -> bool:
        """Ask once whether the endpoint takes requests."""
        try:
            return self._http.get(_HEALTH).is_success
        except httpx.TransportError:
            return False

    def _send(self, request: httpx.Request) -> bytes:
        attempts = Attempts(self._retries, str(request.url))
        # The same for every attempt, so that each meets the same version of the model.
        request.headers.setdefault("X-Request-Id", uuid.uuid4().hex)
        while True:
            try:
                response = self._http.send(request)
                wait_s = attempts.after_answer(response)
                if wait_s is None:
                    return response.content
            except httpx.TransportError as error:
                wait_s = attempts.after_loss(error)
            time.sleep(wait_s)


class AsyncClient:
    """Like `Client`, for an event loop; one may have many requests under way."""

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        timeout_s: float = 60.0,
        retries: Retries = _USUAL,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._retries = retries
        self._http = httpx.AsyncClient(
            base_url=url, headers=_headers(token), timeout=timeout_s, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def predict(
        self,
        image: Image,
        *,
        top_k: int | None = None,
        views: str | None = None,
        explain: bool | str = False,
    ) -> Answer:
        """Classify one image."""
        asked = self._http.build_request(**_question([image], top_k, views, explain))
        return _answers(await self._send(asked))[0]

    async def predict_many(
        self,
        images: Sequence[Image],
        *,
        top_k: int | None = None,
        views: str | None = None,
        explain: bool | str = False,
    ) -> list[Answer]:
        """Classify several images in one request, answered in their order."""
        if not images:
            return []
        asked = self._http.build_request(**_question(images, top_k, views, explain))
        return _answers(await self._send(asked))

    async def model(self) -> ModelCard:
        """Ask what is being served."""
        return ModelCard.model_validate_json(await self._send(self._http.build_request("GET", "model")))

    async def ready(self) -> bool:
        """Ask once whether the endpoint takes requests."""
        try:
            return (await self._http.get(_HEALTH)).is_success
        except httpx.TransportError:
            return False

    async def _send(self, request: httpx.Request) -> bytes:
        attempts = Attempts(self._retries, str(request.url))
        # The same for every attempt, so that each meets the same version of the model.
        request.headers.setdefault("X-Request-Id", uuid.uuid4().hex)
        while True:
            try:
                response = await self._http.send(request)
                wait_s = attempts.after_answer(response)
                if wait_s is None:
                    return response.content
            except httpx.TransportError as error:
                wait_s = attempts.after_loss(error)
            await asyncio.sleep(wait_s)


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _question(
    images: Sequence[Image], top_k: int | None, views: str | None, explain: bool | str
) -> dict[str, Any]:
    """Return the arguments of `build_request`: one image is the body, several are a form."""
    params: dict[str, Any] = {"top_k": top_k, "views": views}
    if explain:
        params |= {"explain": True, "explain_class": explain if isinstance(explain, str) else None}
    params = {name: value for name, value in params.items() if value is not None}
    data = [_encoded(image) for image in images]
    question: dict[str, Any] = {"method": "POST", "url": "predict", "params": params}
    if len(data) == 1:
        return {**question, "content": data[0], "headers": {"Content-Type": "application/octet-stream"}}
    return {**question, "files": [("file", (str(number), each)) for number, each in enumerate(data, 1)]}


def _encoded(image: Image) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, Picture):
        stream = io.BytesIO()
        # PNG keeps every pixel, and has no CMYK, YCbCr or floats.
        kept = image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
        (image if kept else image.convert("RGB")).save(stream, "PNG")
        return stream.getvalue()
    return Path(image).read_bytes()


def _answers(body: bytes) -> list[Answer]:
    """Read the answer to one image, or the list of answers to several."""
    return ANSWERS.validate_json(body if body.startswith(b"[") else b"[%b]" % body)
