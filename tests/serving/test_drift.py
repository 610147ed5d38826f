"""Pictures that are turned raise the stability index of an endpoint; those of validation do not."""

import asyncio
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lib.data.dataset import open_dataset
from serving.counting import facts_of, set_gauges
from serving.gateway import Gateway
from serving.question import Question
from serving.sums import Sums

Start = Callable[..., Gateway]
# Where the alert fires.
ALARM = 0.25


@pytest.fixture
def validation(digits: Path) -> list[bytes]:
    dataset = open_dataset(str(digits))
    samples = dataset.samples("val")
    found = [samples.read(number) for number in range(len(samples))]
    samples.close()
    return found


def turned(data: bytes) -> bytes:
    stream = io.BytesIO()
    Image.open(io.BytesIO(data)).transpose(Image.Transpose.ROTATE_90).save(stream, "PNG")
    return stream.getvalue()


def drift(gateway: Gateway, images: list[bytes], replicas: int = 2) -> dict[str, float]:
    """What the ledger says of an endpoint after these images, which came to its replicas in turns."""
    sums = Sums()
    sums.know(facts_of(gateway))
    for first in range(0, len(images), 32):
        asyncio.run(gateway.predict(images[first : first + 32], Question()))
        set_gauges(gateway.tally, gateway)
        sums.take(first, f"replica {first % replicas}", gateway.tally.take())
    gauges = sums.gauges(first)
    return {labels[1]: value for (name, labels), value in gauges.items() if name == "drift"}


def test_turned_pictures_are_noticed(start: Start, digits_bundle: Path, validation: list[bytes]) -> None:
    gateway = start(bundle=str(digits_bundle))
    same = drift(gateway, validation * 2)
    other = drift(gateway, [turned(image) for image in validation] * 2)
    assert same == {"confidence": 0, "classes": 0}
    assert other["confidence"] > ALARM
    assert other["classes"] > ALARM


def test_a_bundle_without_a_baseline_has_no_index(
    start: Start, bundle_path: Path, validation: list[bytes]
) -> None:
    assert drift(start(bundle=str(bundle_path)), validation * 2) == {}
