"""An int8 network comes into a bundle if it is as accurate, and an endpoint runs it."""

import json
from pathlib import Path

import numpy as np
import pytest

from lib.bundle import read_bundle
from lib.config.quantizing import QuantizeConfig
from lib.data.dataset import open_dataset
from lib.errors import GateError, RunError, UserError
from lib.predict.engines import Wanted, candidates, choose_engine
from lib.predict.predictor import Predictor
from lib.predict.quantize import QuantizePlan, plan_quantize, quantize


def plan(bundle: Path, data: Path, out: Path, **values: object) -> QuantizePlan:
    given = {"bundle": str(bundle), "data": {"root": str(data)}, "out": str(out), **values}
    return plan_quantize(QuantizeConfig.model_validate(given))


@pytest.fixture(scope="module")
def made(digits: Path, digits_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("quantized") / "out"
    quantize(plan(digits_bundle, digits, out, max_accuracy_drop=0.05), lambda _: None)
    return out


def test_int8_agrees_with_what_is_recorded_and_takes_the_place_of_fp32(made: Path, digits: Path) -> None:
    fp32, int8 = (Predictor(made / "bundle", Wanted("openvino", each)) for each in ("fp32", "int8"))
    facts = int8.bundle.manifest.int8
    assert facts is not None
    assert (facts.split, facts.calibration_images + facts.num_samples) == ("val", 179)
    assert facts.fp32_accuracy - facts.accuracy <= 0.05
    samples = open_dataset(str(digits)).samples("val")
    images = [samples.read(i) for i in range(len(samples))]
    answers = [each.predict(images) for each in (fp32, int8)]
    assert 1e-6 < np.abs(answers[0] - answers[1]).max() < 0.3
    assert (answers[0].argmax(1) == answers[1].argmax(1)).mean() > 0.9
    assert int8.predict(images[:1])[0] == pytest.approx(answers[1][0], abs=1e-3)


def test_the_new_bundle_is_whole_and_the_old_one_as_it_was(made: Path, digits_bundle: Path) -> None:
    old, new = read_bundle(digits_bundle), read_bundle(made / "bundle")
    assert old.manifest.int8 is None
    assert new.version != old.version
    assert set(new.manifest.sha256) - set(old.manifest.sha256) == {"int8/model.xml", "int8/model.bin"}
    assert candidates(new, Wanted()) == [("torch", "fp32"), ("openvino", "fp32"), ("openvino", "int8")]
    assert "## Int8" in (new.path / "README.md").read_text()
    result = json.loads((made / "result.json").read_text())
    low, high = result["int8"]["drop_interval"]
    assert low <= result["int8"]["drop"] <= high
    with pytest.raises(UserError, match="has an int8 network already"):
        plan_quantize(QuantizeConfig.model_validate({"bundle": str(new.path), "data": {"root": "x"}}))


def test_an_int8_network_that_answers_otherwise_does_not_start(made: Path) -> None:
    bundle = read_bundle(made / "bundle")
    assert bundle.manifest.int8 is not None
    bundle.manifest.int8.golden.reverse()
    with pytest.raises(RunError, match="golden check failed: with openvino int8"):
        choose_engine(bundle, Wanted("openvino", "int8"))


def test_too_large_a_loss_writes_nothing(
    digits: Path, digits_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A network that has its activations within a hundredth of their ranges has lost its mind.
    from lib.predict import quantize as module

    real = module.int8_model
    monkeypatch.setattr(module, "int8_model", lambda bundle, pixels: real(bundle, pixels // 128))
    with pytest.raises(GateError, match=r"of accuracy; 0 is allowed") as error:
        quantize(plan(digits_bundle, digits, tmp_path / "out", max_accuracy_drop=0), lambda _: None)
    assert error.value.exit_code == 3
    assert not list(tmp_path.iterdir())


def test_what_does_not_belong_together_is_refused(digits: Path, digits_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no split 'validation'"):
        plan(digits_bundle, digits, tmp_path / "out", split="validation")
    with pytest.raises(UserError, match="exists"):
        plan(digits_bundle, digits, tmp_path)
    made = plan(digits_bundle, digits, tmp_path / "out", calibration_images=50)
    assert len(made.calibration) == 50
    assert not set(made.calibration) & set(made.measured)
    assert len(made.calibration) + len(made.measured) == 179
