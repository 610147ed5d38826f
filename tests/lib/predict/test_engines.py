"""Every engine answers as torch does, proves it, and is chosen by its speed."""

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from lib.bundle import Bundle, BundleContent, Golden, read_bundle, write_bundle
from lib.config.serving import ServeSection
from lib.errors import RunError, UserError
from lib.images.preprocess import normalise, prepare
from lib.images.spec import PreprocessSpec
from lib.models.build import build_model
from lib.predict import engines
from lib.predict.engines import (
    CPU_ENGINES,
    GPU_ENGINES,
    Engine,
    Wanted,
    build_engine,
    candidates,
    check_golden,
    choose_engine,
)
from tests.conftest import encode


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A small ResNet with random weights, in colour, with a mean and a std for each channel."""
    torch.manual_seed(0)
    kwargs = {"num_classes": 5, "channels": 3, "image_size": 32}
    model = build_model("resnet8", **kwargs).eval()
    spec = PreprocessSpec(image_size=32, resize_size=32)
    data = encode(np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8))
    with torch.inference_mode():
        expected = model(normalise(prepare(data, spec)[None], spec)).softmax(1)[0].numpy()
    content = BundleContent(
        model=model,
        arch="resnet8",
        arch_kwargs=kwargs,
        classes=list("abcde"),
        preprocess=spec,
        metrics={},
        dataset={},
        golden=Golden(data, expected),
        config_yaml="",
        card="",
    )
    return write_bundle(tmp_path_factory.mktemp("engines") / "bundle", content)


def pictures(count: int) -> Tensor:
    values = np.random.default_rng(count).integers(0, 255, (count, 32, 32, 3), dtype=np.uint8)
    return torch.from_numpy(values).permute(0, 3, 1, 2)


def test_openvino_answers_as_torch_does_at_any_batch_size(bundle: Bundle) -> None:
    torch_engine = choose_engine(bundle)
    openvino = choose_engine(bundle, Wanted("openvino", "fp32", threads=2))
    assert (torch_engine.name, openvino.name) == ("torch", "openvino")
    for count in (1, 2, 5):
        pixels = pictures(count)
        expected = torch_engine(pixels)
        assert expected.shape == (count, 5)
        assert torch.allclose(openvino(pixels), expected, atol=1e-5)
        assert torch.allclose(openvino(pixels.contiguous()), expected, atol=1e-5)
        # What is normalised already is not normalised again.
        ready = normalise(pixels, bundle.preprocess)
        for engine in (torch_engine, openvino):
            assert torch.allclose(engine(ready), expected, atol=1e-5)


def test_answers_stay_when_the_engine_runs_again(bundle: Bundle) -> None:
    engine = choose_engine(bundle, Wanted("openvino", "fp32"))
    first = engine(pictures(3))
    kept = first.clone()
    engine(pictures(4))
    assert torch.equal(first, kept)


def test_openvino_is_loaded_without_its_telemetry(bundle: Bundle) -> None:
    choose_engine(bundle, Wanted("openvino", "fp32"))
    assert sys.modules["openvino_telemetry"] is None
    assert not any(name.startswith("openvino_telemetry.") for name in sys.modules)


def test_auto_takes_the_fastest_and_says_what_it_was_measured_against(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_MEASURED_S", 0.05)
    told: list[str] = []
    engine = choose_engine(bundle, Wanted(max_batch_size=4), told.append)
    assert (engine.name, engine.precision) in CPU_ENGINES
    assert engine.images_per_s is not None
    assert len(told) == 1
    assert "torch fp32" in told[0]
    assert "openvino fp32" in told[0]
    assert told[0].startswith(f"engine {engine}; slower: ")


def broken(_: Bundle, __: torch.device, ___: int) -> Callable[[Tensor], Tensor]:
    raise ValueError("no such operation")


def wrong(_: Bundle, __: torch.device, ___: int) -> Callable[[Tensor], Tensor]:
    return lambda pixels: torch.zeros(len(pixels), 5)


@pytest.mark.parametrize(
    ("build", "problem"), [(broken, "ValueError: no such operation"), (wrong, "golden check failed")]
)
def test_an_engine_that_fails_is_left_out_unless_it_was_asked_for(
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    build: Callable[..., Callable[[Tensor], Tensor]],
    problem: str,
) -> None:
    monkeypatch.setitem(CPU_ENGINES, ("openvino", "fp32"), build)
    told: list[str] = []
    assert choose_engine(bundle, Wanted(), told.append).name == "torch"
    assert told[0].startswith("engine openvino fp32 is left out")
    assert problem in told[0]
    with pytest.raises((ValueError, RunError), match=problem.removeprefix("ValueError: ")):
        choose_engine(bundle, Wanted("openvino", "fp32"))


def test_what_a_bundle_or_a_machine_does_not_have_is_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert candidates(bundle, Wanted()) == [("torch", "fp32"), ("openvino", "fp32")]
    with pytest.raises(UserError, match="has no int8 model") as error:
        candidates(bundle, Wanted("auto", "int8"))
    assert f"python jobs/quantize.py bundle={bundle.path}" in error.value.hint
    with pytest.raises(UserError, match="there is no engine torch int8"):
        candidates(bundle, Wanted("torch", "int8"))
    monkeypatch.setattr(engines, "find_spec", lambda _: None)
    assert candidates(bundle, Wanted()) == [("torch", "fp32")]
    with pytest.raises(UserError, match="OpenVINO is not installed"):
        candidates(bundle, Wanted("openvino"))


@pytest.mark.parametrize(("use_gpu", "known"), [(False, CPU_ENGINES), (True, GPU_ENGINES)])
def test_the_configuration_takes_what_there_is(use_gpu: bool, known: dict[tuple[str, str], object]) -> None:
    fields = ServeSection.model_fields
    taken = set()
    for name in get_args(fields["engine"].annotation):
        for precision in get_args(fields["precision"].annotation):
            try:
                ServeSection(engine=name, precision=precision, use_gpu=use_gpu)
            except ValueError:
                continue
            taken.add((name, precision))
    assert {pair for pair in taken if "auto" not in pair} == set(known)
    assert ("auto", "auto") in taken


def test_a_golden_answer_of_another_network_fails(bundle: Bundle) -> None:
    engine = build_engine(bundle, ("torch", "fp32"), Wanted())
    check_golden(engine, bundle)
    other = replace(engine, forward=lambda pixels: engine(pixels) + torch.arange(5) / 100)
    with pytest.raises(RunError, match="golden check failed: with torch fp32"):
        check_golden(other, bundle)
    assert isinstance(other, Engine)


def test_bundles_without_int8_keep_their_version(bundle: Bundle) -> None:
    assert "int8" not in (bundle.path / "bundle.json").read_text()
    assert read_bundle(Path(bundle.path)).manifest.int8 is None


@pytest.mark.integration  # starts a compiler
def test_compiled_answers_as_torch_does(bundle: Bundle) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's compiler warns about itself
        compiled = choose_engine(bundle, Wanted("compiled"))
        expected = choose_engine(bundle)
        for count in (1, 2, 5):
            assert torch.allclose(compiled(pictures(count)), expected(pictures(count)), atol=1e-5)
