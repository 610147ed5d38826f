from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from lib.config.reading import ReadingSection
from lib.data.dataset import open_dataset
from lib.data.quarantine import Quarantine
from lib.metrics import Outcomes
from lib.predict.ensemble import Ensemble
from lib.predict.loading import open_loaders
from lib.predict.scoring import score


def part(ensemble: Ensemble, root: Path, rank: int, world_size: int) -> tuple[Outcomes, np.ndarray]:
    samples = open_dataset(str(root)).samples("test")
    loaders = open_loaders(
        samples,
        ensemble.kinds,
        ReadingSection(root=str(root)),
        threads=1,
        quarantine=Quarantine({"test": len(samples)}, 0),
    )
    try:
        return score(
            ensemble, loaders, num_samples=len(samples), batch_size=16, rank=rank, world_size=world_size
        )
    finally:
        for loader in loaders.values():
            loader.close()
        samples.close()


@pytest.mark.parametrize("world_size", [3, 50])
def test_workers_together_say_bit_for_bit_what_one_says(
    ensemble_path: Path, digits: Path, world_size: int
) -> None:
    ensemble = Ensemble.load(ensemble_path)
    alone, used = part(ensemble, digits, 0, 1)
    parts = [part(ensemble, digits, rank, world_size) for rank in range(world_size)]
    together = Outcomes.concat([outcomes for outcomes, _ in parts])
    for field in fields(Outcomes):
        assert np.array_equal(getattr(together, field.name), getattr(alone, field.name)), field.name
    assert np.array_equal(sum(counts for _, counts in parts), used)
    assert used.sum() == len(alone) == 179
    assert used[0] == 0
    assert used[1] > used[2] > 0


def test_outcomes_agree_with_predict(ensemble_path: Path, digits: Path) -> None:
    ensemble = Ensemble.load(ensemble_path)
    outcomes, _ = part(ensemble, digits, 0, 1)
    samples = open_dataset(str(digits)).samples("test")
    probabilities = ensemble.predict([samples.read(i) for i in range(len(samples))])
    assert np.array_equal(outcomes.predicted, probabilities.argmax(axis=1))
    assert outcomes.confidence == pytest.approx(probabilities.max(axis=1), abs=1e-5)
