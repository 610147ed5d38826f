"""What is written reads back to the same, whatever text it holds."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from lib.config.load import load
from lib.config.yaml_read import compose, plain, read_yaml
from lib.config.yaml_write import dump, show, to_yaml

# What YAML reads as something else, or folds, or cuts.
TRAPS = r"""null ~ yes 1e3 1E3 007 1:30 2026-11-24 # *x &x !x ' " | > = << 0x1F 1_0 .inf --- ? - @ % {} [ ,"""
TEXT = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    [*TRAPS.split(), "", "\n", " a ", "a: b", "a #b", "- a", "a\n\nb", "\x85", "\u2028", "\ufeff", "🦎"]
)
NUMBERS = st.integers(-(10**18), 10**18) | st.floats(allow_nan=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


class Inner(BaseModel):
    number: float = 0.0
    texts: list[str] = []
    table: dict[str, str] = {}


class Outer(BaseModel):
    text: str
    inner: Inner
    anything: Any = None


def read(text: str) -> Any:
    node = compose(text, "test")
    return None if node is None else plain(node)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_plain_values_round_trip(value: Any) -> None:
    assert read(dump(value)) == value


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_a_yaml_1_1_reader_gets_the_same(value: Any) -> None:
    assert yaml.safe_load(dump(value)) == value


@settings(max_examples=150, deadline=None)
@given(
    TEXT,
    st.floats(allow_nan=False),
    st.lists(TEXT, max_size=3),
    st.dictionaries(TEXT, TEXT, max_size=3),
    VALUES,
)
def test_a_configuration_round_trips(
    tmp_path_factory: pytest.TempPathFactory,
    text: str,
    number: float,
    texts: list[str],
    table: dict[str, str],
    anything: Any,
) -> None:
    config = Outer(text=text, inner=Inner(number=number, texts=texts, table=table), anything=anything)
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load(Outer, [str(path)]).config == config


@settings(max_examples=200, deadline=None)
@given(TEXT.filter(lambda text: text.isprintable()))
def test_a_shown_value_is_on_one_line(text: str) -> None:
    assert "\n" not in show([text, {"a": text}])


def test_fields_keep_their_order_and_short_lists_one_line() -> None:
    config = Outer(text="yes", inner=Inner(number=1e-5, texts=["a", "007"]))
    assert to_yaml(config) == (
        "text: 'yes'\ninner:\n  number: 1.0e-05\n  texts: [a, '007']\n  table: {}\nanything: null\n"
    )


def test_numbers_of_yaml_1_2(tmp_path: Path) -> None:
    (tmp_path / "n.yaml").write_text(
        "a: [1e-3, .5, 1., -2, +3, 1E2, -.inf, 0]\nb: [007, 1_0, 1:30, 0o7, .e1, 1e, NULL, True]\n"
    )
    assert read_yaml(tmp_path / "n.yaml") == {
        "a": [0.001, 0.5, 1.0, -2, 3, 100.0, -math.inf, 0],
        "b": ["007", "1_0", "1:30", "0o7", ".e1", "1e", None, True],
    }


def test_aliases_and_depth_are_refused(tmp_path: Path) -> None:
    for text in ("a: &x 1\n", "a: *x\n", "a: !!int 1\n", "a: " + "[" * 100_000, "? [a]\n: 1\n"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(Exception, match="not valid YAML"):
            read_yaml(tmp_path / "bad.yaml")
