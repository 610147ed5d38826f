"""What jobs/export.py may be told."""

from typing import Literal

from pydantic import Field

from lib.config.section import Section

Format = Literal["onnx", "torch", "safetensors"]


class ExportConfig(Section):
    """Write the network of a bundle in formats that other programs read."""

    bundle: str = Field(examples=["runs/digits/bundle"])
    """Bundle folder written by jobs/finetune.py."""
    formats: list[Format] = Field(default=["onnx", "torch", "safetensors"], min_length=1)
    """onnx: model.onnx for any ONNX runtime; torch: model.pt2 for torch.export.load; safetensors: the weights
    alone, by the names of torch."""
    out: str | None = Field(default=None, examples=["runs/exports/digits"])
    """Folder for the files; must not exist. By default the name of the model and -export, beside its run."""
