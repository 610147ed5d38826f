import platform
from collections.abc import Mapping

import pytest
import torch

from lib.train.precision import precision_hint

CPU = torch.device("cpu")


def _with(monkeypatch: pytest.MonkeyPatch, capabilities: Mapping[str, bool]) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)


def test_matrix_units_are_worth_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    _with(monkeypatch, {"amx_bf16": True})
    assert "train.precision=bf16" in (precision_hint("fp32", CPU, 224) or "")


@pytest.mark.parametrize(
    ("precision", "device", "image_size"), [("bf16", "cpu", 224), ("fp32", "cuda", 224), ("fp32", "cpu", 32)]
)
def test_nothing_is_said_where_it_is_used_or_would_not_help(
    monkeypatch: pytest.MonkeyPatch, precision: str, device: str, image_size: int
) -> None:
    _with(monkeypatch, {"amx_bf16": True})
    assert precision_hint(precision, torch.device(device), image_size) is None


def test_instructions_without_matrix_units_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    _with(monkeypatch, {"avx512_bf16": True, "amx_bf16": False})
    assert precision_hint("fp32", CPU, 224) is None


def test_an_older_torch_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert precision_hint("fp32", CPU, 224) is None


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only these processors may have such units")
def test_torch_knows_what_it_is_asked_for() -> None:
    assert "amx_bf16" in torch.cpu.get_capabilities()
