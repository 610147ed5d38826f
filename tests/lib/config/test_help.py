"""What --help and --schema print."""

import json
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from lib.config.help import help_text, schema_text
from lib.config.load import load


class Optim(BaseModel):
    """How weights follow gradients."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""
    name: Literal["sgd", "adam"] = "sgd"
    """Optimizer, which is described here at such a length
    that it must be wrapped."""
    required: list[str] | None = None


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    root: str
    """Dataset folder."""
    optim: Optim = Optim(lr=0.25)


EXPECTED = """\
usage: python jobs/x.py [PRESET.yaml ...] [key=value ...]
       [--list] [--dry-run] [--help] [--schema]

Do it.

Words are merged left to right; values are YAML; a later
word wins.

keys:
  root            text  (required)
                  Dataset folder.

optim: How weights follow gradients.
  optim.lr        number greater than 0  (0.25)
                  Peak learning rate.
  optim.name      sgd, adam  (sgd)
                  Optimizer, which is described here at such
                  a length that it must be wrapped.
  optim.required  list, each text or null  (null)

flags:
  --list          List.
  --dry-run       Print the resolved configuration and the
                  plan; start nothing.
  --help          Print this text.
  --schema        Print the JSON Schema of presets, for
                  editors that complete YAML."""


def test_help_is_the_models_in_columns() -> None:
    text = help_text(
        Config, prog="python jobs/x.py", description="Do it.", flags={"--list": "List."}, width=60
    )
    assert text == EXPECTED


def test_help_and_schema_end_well_whatever_else_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--help", "-h", "--schema"):
        with pytest.raises(SystemExit) as ended:
            load(Config, ["nonsense", flag], prog="python jobs/x.py", description="Do it.")
        assert ended.value.code == 0
        assert "Peak learning rate." in capsys.readouterr().out


def test_schema_describes_presets() -> None:
    schema = json.loads(schema_text(Config))
    assert schema["$schema"].endswith("2020-12/schema")
    # A preset may be partial; a field that is called "required" stays.
    assert "required" not in schema
    optim = schema["$defs"]["Optim"]
    assert optim["properties"]["lr"]["description"] == "Peak learning rate."
    assert set(optim["properties"]) == {"lr", "name", "required"}
