"""Manta's YAML: the plain part of YAML 1.2, read so that text stays text.

    read_yaml(Path("runs/digits/config.yaml"))   # {"optim": {"lr": 0.001}}
    compose("[1, yes, 007]", "members")          # nodes that keep the text as it was typed

`true false null ~` and numbers are values, everything else is text: `yes`, `on`, `007`, `1:30`, `1_0`,
`2026-11-24`. No tags, anchors or aliases; a repeated key is an error.
"""

import math
import re
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from lib.errors import UserError

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_DIGITS = 60

BOOL, INT, FLOAT, NULL, STR = (
    f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null", "str")
)
_WHOLE = r"[-+]?(?:0|[1-9][0-9]*)"
_FRACTION = r"(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
# Tag, pattern, the characters a match may start with. The first match wins, so whole numbers stand first.
RESOLVERS: list[tuple[str, re.Pattern[str], list[str]]] = [
    (BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    (NULL, re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    (INT, re.compile(rf"^{_WHOLE}$"), list("-+0123456789")),
    (
        FLOAT,
        re.compile(rf"^(?:[-+]?(?:{_FRACTION}|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))$"),
        list("-+.0123456789"),
    ),
]


def tag_of(text: str) -> str:
    """Return the tag of an unquoted scalar: one of BOOL, INT, FLOAT, NULL and STR."""
    for tag, pattern, _ in RESOLVERS:
        if pattern.match(text) and not text.endswith("\n"):
            return STR if tag in (INT, FLOAT) and not _fits(text) else tag
    return STR


def _fits(text: str) -> bool:
    """Say whether a number can be held: not endless, and finite unless it says `.inf` or `.nan`."""
    return len(text) <= MAX_DIGITS and (
        text.lstrip("+-")[:2].lower() in (".i", ".n") or math.isfinite(float(text))
    )


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with Manta's scalars, and without what can surprise."""

    depth = 0

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """Give a scalar its tag from RESOLVERS alone (a quoted one is text)."""
        if kind is ScalarNode:
            return tag_of(value) if implicit[0] else STR
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # PyYAML has no types

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """Compose one node; refuse aliases, anchors, tags, deep nesting and repeated keys."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # as above
        refused = (
            "an alias (*)" if isinstance(event, yaml.AliasEvent) else "an anchor (&)" if event.anchor else ""
        )
        refused = refused or ("a tag (!)" if event.tag else "")
        if refused:
            raise yaml.MarkedYAMLError(
                None, None, f"{refused} is not read here; quote text", event.start_mark
            )
        if self.depth >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(None, None, f"nested more than {MAX_DEPTH} deep", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, MappingNode):
            _check_keys(node)
        if isinstance(node, ScalarNode) and any("\ud800" <= letter <= "\udfff" for letter in node.value):
            raise yaml.MarkedYAMLError(None, None, "half a character (a lone surrogate)", event.start_mark)
        return node


def _check_keys(node: MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, ScalarNode):
            raise yaml.MarkedYAMLError(None, None, "a key must be a single word", key.start_mark)
        if key.value in lines:
            problem = f"{key.value} stands here a second time (first in line {lines[key.value]})"
            raise yaml.MarkedYAMLError(None, None, problem, key.start_mark)
        lines[key.value] = key.start_mark.line + 1


def compose(text: str, name: str) -> Node | None:
    """Parse one YAML document into nodes, None when it is empty.

    Raises UserError "NAME line N: problem" (without the line when there is only one).
    """
    try:
        return _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark and "\n" in text.strip() else ""
        problem = error.problem or "it cannot be parsed"
        raise UserError(f"{name}{line}: not valid YAML: {_plainly(problem)}") from None
    except yaml.YAMLError:
        raise UserError(f"{name}: not valid YAML: it holds a control character") from None


def _plainly(problem: str) -> str:
    if "'\\t'" in problem:
        return "a tab; indent with spaces"
    if "cannot start any token" in problem:
        return (
            f"{problem.removesuffix(' that cannot start any token')} at the start of a value; quote the value"
        )
    if problem == "but found another document":
        return "a second document (---)"
    return problem.replace("<", "").replace(">", "")


def read_nodes(path: Path) -> MappingNode | None:
    """Read a YAML file that holds a mapping, None when it holds nothing; UserError says what is wrong."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    if len(data) > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES // 1_000_000} MB, so hardly a configuration")
    try:
        node = compose(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text") from None
    if node is None or (isinstance(node, ScalarNode) and node.tag == NULL):
        return None
    if not isinstance(node, MappingNode):
        given = "a list" if isinstance(node, SequenceNode) else "a single value"
        raise UserError(f"{path}: must hold `key: value` lines, not {given}")
    return node


def scalar(node: ScalarNode) -> bool | int | float | str | None:
    """Return the value of a scalar node."""
    text: str = node.value
    if node.tag == NULL:
        return None
    if node.tag == BOOL:
        return text.lower() == "true"
    if node.tag == INT:
        return int(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan")) if node.tag == FLOAT else text


def plain(node: Node) -> Any:
    """Return a node as plain Python: dict, list and scalars; keys are text."""
    if isinstance(node, ScalarNode):
        return scalar(node)
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.value]
    return {key.value: plain(value) for key, value in node.value}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a preset or a stored `config.yaml` as nested dicts, without a model; UserError if it cannot be."""
    node = read_nodes(path)
    return {} if node is None else plain(node)
