"""A bundle in other programs' formats: the same answers, from the files alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lib.bundle import read_bundle
from lib.predict.engines_openvino import without_telemetry
from lib.predict.predictor import Predictor
from tests.jobs.conftest import Run


def test_every_format_answers_as_the_bundle_does(job: Run, digits_bundle: Path, tmp_path: Path) -> None:
    ended = job("export", f"bundle={digits_bundle}", "out=out")
    assert ended.code == 0, ended.err
    assert "model.onnx: differs from the bundle by" in ended.out
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "export.json", "model.onnx", "model.pt2", "model.safetensors",
    }  # fmt: skip
    facts = json.loads((out / "export.json").read_text())
    assert facts["classes"] == read_bundle(digits_bundle).classes
    assert facts["input"]["shape"] == ["n", 1, 28, 28]
    assert all(each["largest_difference"] < 1e-4 for each in facts["files"].values())

    # From the files alone, with pictures that the job has not seen, three at a time.
    predictor = Predictor(digits_bundle)
    pixels = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)
    expected = predictor.probabilities(pixels)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}  # some processors would take bfloat16
    compiled = without_telemetry().Core().compile_model(str(out / "model.onnx"), "CPU", settings)
    assert [port.get_any_name() for port in (*compiled.inputs, *compiled.outputs)] == [
        facts["input"]["name"], facts["output"]["name"],
    ]  # fmt: skip
    assert np.allclose(compiled(pixels.numpy())[0], expected, atol=1e-4)
    program = torch.export.load(out / "model.pt2").module()
    assert np.allclose(program(pixels).detach().numpy(), expected, atol=1e-4)
    assert set(load_file(out / "model.safetensors")) == set(predictor.bundle.build_model().state_dict())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["formats=[onnx, coreml]"], "must be one of onnx, torch, safetensors"),
        (["formats=[]"], "formats=[]"),
        (["bundle=nowhere"], "nowhere is not a bundle"),
        (["out=taken"], "exists"),
    ],
)
def test_what_cannot_be_exported_is_a_sentence(
    job: Run, digits_bundle: Path, tmp_path: Path, change: list[str], sentence: str
) -> None:
    (tmp_path / "taken").mkdir()
    ended = job("export", f"bundle={digits_bundle}", "out=out", *change)
    assert ended.code == 2
    assert sentence in ended.err
    assert not (tmp_path / "out").exists()


def test_a_network_that_answers_otherwise_is_not_kept(
    job: Run, digits_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lib.predict import export

    def spoiled(*given: object) -> object:
        answer = export._safetensors(*given)  # type: ignore[arg-type]
        return lambda pixels: answer(pixels).flip(1)

    monkeypatch.setitem(export._WRITERS, "safetensors", spoiled)
    ended = job("export", f"bundle={digits_bundle}", "out=out", "formats=[safetensors]")
    assert ended.code == 1
    assert "model.safetensors answers otherwise" in ended.err
    assert not (tmp_path / "out").exists()
