import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.bundle import Bundle, read_bundle
from lib.data.dataset import open_dataset
from lib.errors import RunError
from lib.images.decode import ImageError
from lib.images.views import VIEWS
from lib.predict.engines import Engine, choose_engine
from lib.predict.ensemble import Ensemble, Logits, Question
from lib.predict.folder import Folder, folder_of, read_folder
from lib.predict.predictor import Predictor


def pictures(root: Path, split: str = "test", count: int = 60) -> list[bytes]:
    samples = open_dataset(str(root)).samples(split)
    return [samples.read(i) for i in range(min(count, len(samples)))]


def changed(path: Path, **values: object) -> Folder:
    folder = read_folder(path)
    return replace(folder, manifest=folder.manifest.model_copy(update=values))


def test_a_bundle_answers_as_it_does_alone(digits_bundle: Path, digits: Path) -> None:
    images, ensemble = pictures(digits), Ensemble.load(digits_bundle)
    ensemble.golden_check()
    assert np.abs(ensemble.predict(images) - Predictor(digits_bundle).predict(images)).max() < 1e-6
    answers = ensemble.run([ensemble.prepare(images[0])])
    assert answers.members_used.tolist() == [1]
    assert ensemble.predict([]).shape == (0, 10)


def test_members_go_by_the_names_of_their_classes(
    digits_bundle: Path, reversed_bundle: Path, digits: Path, tmp_path: Path
) -> None:
    bundles = [read_bundle(digits_bundle), read_bundle(reversed_bundle)]
    together = Ensemble(folder_of(bundles, tmp_path))
    images = pictures(digits)
    alone = Predictor(digits_bundle).predict(images)
    assert np.abs(together.predict(images) - alone).max() < 1e-6
    assert np.abs(Predictor(reversed_bundle).predict(images)[:, ::-1] - alone).max() < 1e-6


def test_the_mean_is_that_of_weights_temperatures_and_views(ensemble_path: Path, digits: Path) -> None:
    ensemble, images = Ensemble(changed(ensemble_path, cascade=None)), pictures(digits, count=5)
    manifest = ensemble.folder.manifest
    total = np.zeros((5, 10))
    for entry, member in zip(manifest.members, ensemble.members, strict=True):
        pixels = torch.stack([ensemble.prepare(data).pixels(member.spec) for data in images])
        logits = torch.from_numpy(member.logits(pixels, VIEWS["rotations"]))
        total += entry.weight * (logits / entry.temperature).softmax(-1).mean(0).numpy()
    expected = (torch.from_numpy(total).log() / manifest.temperature).softmax(1).numpy()
    assert np.abs(ensemble.predict(images) - expected).max() < 1e-6
    assert np.abs(ensemble.predict(images, views="none") - expected).max() > 1e-4


def test_votes_are_counted(ensemble_path: Path, digits: Path) -> None:
    votes = Ensemble(changed(ensemble_path, cascade=None, combine="vote", vote="hard"))
    found = votes.predict(pictures(digits))
    weights = np.array([member.weight for member in votes.members]) / sum(m.weight for m in votes.members)
    assert np.abs(found[:, None, :] - np.array([0, 1, *weights])[:, None]).min(axis=1).max() < 2e-3


@pytest.mark.parametrize("batch_size", [7, 60])
def test_the_cascade_does_not_depend_on_the_batch_and_stops_where_it_should(
    ensemble_path: Path, digits: Path, batch_size: int
) -> None:
    ensemble, images = Ensemble.load(ensemble_path), pictures(digits)
    prepared = [ensemble.prepare(data) for data in images]
    parts = [ensemble.run(prepared[i : i + batch_size]) for i in range(0, len(images), batch_size)]
    found = np.concatenate([part.probabilities for part in parts])
    used = np.concatenate([part.members_used for part in parts])
    assert set(used) == {1, 2}
    full = ensemble.run(prepared, cascade=False)
    assert set(full.members_used) == {2}
    late = used == 2
    assert np.abs(found - full.probabilities)[~late].max() > 1e-4
    assert found.sum(axis=1) == pytest.approx(np.ones(len(images)), abs=1e-5)
    if batch_size == 60:
        assert np.abs(found - ensemble.predict(images, batch_size=13)).max() < 1e-5


def test_only_what_is_asked_for_is_computed(ensemble_path: Path, digits: Path) -> None:
    batches: list[tuple[str, int]] = []

    def counting(bundle: Bundle) -> Engine:
        engine = choose_engine(bundle)

        def forward(pixels: torch.Tensor) -> torch.Tensor:
            batches.append((bundle.arch, len(pixels)))
            return engine(pixels)

        return replace(engine, forward=forward)

    ensemble = Ensemble.load(ensemble_path, make_engine=counting)
    answers = ensemble.run([ensemble.prepare(data) for data in pictures(digits)])
    went_on = int((answers.members_used == 2).sum())
    assert 0 < went_on < 60
    of_second = sum(count for arch, count in batches if arch == "resnet8")
    assert of_second <= went_on * len(VIEWS["rotations"])
    batches.clear()
    ensemble.run([ensemble.prepare(data) for data in pictures(digits)], cascade=False)
    assert batches == [("lenet5", 180), ("resnet8", 180)]


def test_other_views_ask_everybody(ensemble_path: Path, digits: Path) -> None:
    ensemble = Ensemble.load(ensemble_path)
    answers = ensemble.run([ensemble.prepare(data) for data in pictures(digits, count=9)], "none")
    assert set(answers.members_used) == {2}


def test_the_endpoint_answers_what_was_measured(ensemble_path: Path, digits: Path) -> None:
    samples = open_dataset(str(digits)).samples("val")
    images, labels = pictures(digits, "val", len(samples)), samples.labels()
    ensemble = Ensemble.load(ensemble_path)
    measured = json.loads((ensemble_path / "ensemble.json").read_text())["measured"]
    held = slice(1, None, 2)
    prepared = [ensemble.prepare(data) for data in images][held]
    answers, full = ensemble.run(prepared), ensemble.run(prepared, cascade=False)

    def accuracy(probabilities: np.ndarray) -> float:
        return float((probabilities.argmax(axis=1) == labels[held]).mean())

    assert measured["num_samples"] == len(prepared)
    assert accuracy(answers.probabilities) == pytest.approx(measured["cascade"]["accuracy"])
    assert accuracy(full.probabilities) == pytest.approx(measured["ensemble"]["accuracy"])
    assert answers.members_used.mean() == pytest.approx(measured["cascade"]["mean_members"])


def test_the_golden_pictures_are_checked(ensemble_path: Path) -> None:
    ensemble = Ensemble.load(ensemble_path)
    ensemble.golden_check()
    slightly_off = changed(ensemble_path, temperature=ensemble.folder.manifest.temperature * 20)
    with pytest.raises(RunError, match="golden check failed"):
        Ensemble(slightly_off).golden_check()


def test_what_is_no_picture_is_refused(ensemble_path: Path) -> None:
    with pytest.raises(ImageError, match="not an image"):
        Ensemble.load(ensemble_path).predict([b"<html></html>"])


def test_members_that_are_asked_at_once_say_the_same(ensemble_path: Path, digits: Path) -> None:
    images = pictures(digits)
    cascade = read_folder(ensemble_path).manifest.cascade
    assert cascade is not None
    thresholds = [0.9] * len(cascade.thresholds)
    folder = changed(ensemble_path, cascade=cascade.model_copy(update={"thresholds": thresholds}))
    at_once: list[int] = []

    def ask_all(ask: Callable[[Question], Logits], questions: Iterable[Question]) -> Iterable[Logits]:
        listed = list(questions)
        at_once.append(len(listed))
        return pool.map(ask, listed)

    with ThreadPoolExecutor(2) as pool:
        here, elsewhere = Ensemble(folder), Ensemble(folder, ask_all=ask_all)
        for views in (None, "none"):
            expected = here.run([here.prepare(data) for data in images], views)
            found = elsewhere.run([elsewhere.prepare(data) for data in images], views)
            np.testing.assert_array_equal(found.members_used, expected.members_used)
            np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
    assert at_once[-1] == 2  # without a cascade
    assert set(at_once[:-1]) == {1}  # with one, nobody is asked who may not have to be
