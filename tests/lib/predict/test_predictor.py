import json
from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lib.data.dataset import open_dataset
from lib.errors import RunError
from lib.images.decode import ImageError
from lib.predict.predictor import Predictor


def pictures(root: Path, count: int) -> tuple[list[bytes], list[int]]:
    samples = open_dataset(str(root)).samples("test")
    return [samples.read(i) for i in range(count)], samples.labels()[:count].tolist()


def test_probabilities_are_right_and_do_not_depend_on_the_batch(digits_bundle: Path, digits: Path) -> None:
    predictor = Predictor(digits_bundle)
    images, labels = pictures(digits, 50)
    together = predictor.predict(images, batch_size=50)
    alone = predictor.predict(images, batch_size=1)
    assert together.shape == (50, 10)
    assert together.sum(1) == pytest.approx(np.ones(50), abs=1e-5)
    assert np.abs(together - alone).max() < 1e-5
    assert (together.argmax(1) == labels).mean() > 0.7


def test_no_images_give_no_rows(digits_bundle: Path) -> None:
    assert Predictor(digits_bundle).predict([]).shape == (0, 10)


def test_what_is_no_image_is_refused(digits_bundle: Path) -> None:
    with pytest.raises(ImageError, match="not an image"):
        Predictor(digits_bundle).predict([b"<html></html>"])


@pytest.mark.parametrize("wrong", [lambda logits: logits + torch.arange(10) / 2, lambda logits: logits * nan])
def test_the_golden_check_passes_and_fails_when_the_answer_is_another(
    digits_bundle: Path, wrong: Callable[[Tensor], Tensor]
) -> None:
    predictor = Predictor(digits_bundle)
    predictor.golden_check()
    right = predictor.engine
    predictor.engine = replace(right, forward=lambda pixels: wrong(right(pixels)))
    with pytest.raises(RunError, match="golden check failed: with torch fp32"):
        predictor.golden_check()


def test_the_card_of_the_bundle_shows_its_accuracy(digits_bundle: Path) -> None:
    manifest = json.loads((digits_bundle / "bundle.json").read_text())
    card = (digits_bundle / "README.md").read_text()
    assert f"{manifest['metrics']['test']['num_samples']:.0f}" in card
    assert "lenet5" in card
