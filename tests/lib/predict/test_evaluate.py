from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from lib.bundle import read_bundle
from lib.data.dataset import open_dataset
from lib.data.loader import Loader
from lib.images.preprocess import prepare
from lib.metrics import Outcomes, summarise
from lib.predict.evaluate import Share, evaluate, plan_batches
from lib.predict.predictor import Predictor


def outcomes(bundle_path: Path, root: Path, *, batch_size: int, rank: int, world_size: int) -> Outcomes:
    bundle = read_bundle(bundle_path)
    spec = bundle.preprocess
    samples = open_dataset(str(root)).samples("test")
    shape = (spec.channels, spec.image_size, spec.image_size)
    loader = Loader(samples, lambda data, _: prepare(data, spec), shape, threads=2)
    share = Share(len(samples), batch_size, rank, world_size)
    temperatures = [bundle.manifest.temperature, 2.0]
    mine, _ = evaluate(bundle.build_model(), loader, spec, share, num_classes=10, temperatures=temperatures)
    return mine


@pytest.mark.parametrize("world_size", [2, 3, 50])
def test_workers_together_say_bit_for_bit_what_one_says(
    digits_bundle: Path, digits: Path, world_size: int
) -> None:
    alone = outcomes(digits_bundle, digits, batch_size=16, rank=0, world_size=1)
    parts = [
        outcomes(digits_bundle, digits, batch_size=16, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    together = Outcomes.concat(parts)
    for field in fields(Outcomes):
        assert np.array_equal(getattr(together, field.name), getattr(alone, field.name)), field.name
    assert summarise(together, 10) == summarise(alone, 10)


def test_outcomes_agree_with_the_predictor(digits_bundle: Path, digits: Path) -> None:
    found = outcomes(digits_bundle, digits, batch_size=32, rank=0, world_size=1)
    samples = open_dataset(str(digits)).samples("test")
    probabilities = Predictor(digits_bundle).predict([samples.read(i) for i in range(len(samples))])
    assert np.array_equal(found.predicted, probabilities.argmax(1))
    assert found.confidence == pytest.approx(probabilities.max(1), abs=1e-5)
    expected_loss = -np.log(probabilities[np.arange(len(samples)), samples.labels()])
    assert found.loss == pytest.approx(expected_loss, abs=1e-4)


@pytest.mark.parametrize(("num_samples", "batch_size", "world_size"), [(179, 16, 3), (5, 8, 2), (0, 8, 2)])
def test_every_sample_is_planned_once(num_samples: int, batch_size: int, world_size: int) -> None:
    plans = [plan_batches(num_samples, batch_size, rank, world_size) for rank in range(world_size)]
    ids = [i for plan in plans for batch, _ in plan for i in batch.tolist()]
    assert sorted(ids) == list(range(num_samples))
