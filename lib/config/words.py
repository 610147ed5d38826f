"""The words of a command line, merged left to right into one nested mapping.

    draft = Draft(FinetuneConfig)
    draft.read("presets/digits.yaml")
    draft.read("optim.lr=0.01")
    draft.values, draft.mistakes        # {"optim": {"lr": 0.01}, …}, []

Values become what their field takes while they are still YAML nodes, because only there the text of
`run.name=007` is known. Nothing raises: mistakes are collected, one line each.
"""

import difflib
import json
from collections.abc import Iterable, Sequence

# Unlike Path's own, these take a word that is no path at all (too long, a null character) for absent.
from os.path import exists, isdir, isfile
from pathlib import Path
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode

from lib.config import fields
from lib.config.fields import Model
from lib.config.values import settle, word_node
from lib.config.wording import join, nearest
from lib.config.yaml_read import NULL, STR, read_nodes, scalar
from lib.config.yaml_write import show
from lib.errors import UserError

PRESET_SUFFIXES = (".yaml", ".yml")
# The folder that holds the packages lib and jobs, wherever they are installed.
INSTALLED = Path(__file__).resolve().parents[2]


def with_key(words: Sequence[str], key: str) -> list[str]:
    """Return words whose first, unless it is a flag or key=value itself, has become the value of `key`."""
    head, equals, _ = words[0].partition("=") if words else ("", "=", "")
    if head.startswith("-") or (equals and "/" not in head):
        return list(words)
    # Quoted, so that no part of a path means anything in YAML.
    return [f"{key}={json.dumps(words[0], ensure_ascii=False)}", *words[1:]]


class Draft:
    """The values so far, where each came from, and the mistakes so far."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.values: dict[str, Any] = {}
        self.mistakes: list[str] = []
        self.origins: dict[tuple[str, ...], str] = {}
        """Where a key was set, to end a line with: " (FILE line N)", or nothing for a word."""
        self.meant: set[str] = set()
        """Keys that a wrong word probably meant: they are not reported again as missing."""
        self._name = ""
        self._seen: dict[tuple[str, ...], int] = {}

    def read(self, word: str) -> None:
        """Merge one word: a preset or key=value."""
        key, equals, text = word.partition("=")
        is_preset = word.endswith(PRESET_SUFFIXES)
        if not word.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in word):
            self.mistakes.append(f"{word.encode('utf-8', 'replace').decode()}: not UTF-8 text")
        elif equals and not (is_preset and "/" in key):
            self._read_pair(key.strip(), text)
        elif is_preset:
            self._read_preset(Path(word))
        else:
            self.mistakes.append(f"{word or repr(word)}: {self._neither(word)}")

    def _neither(self, word: str) -> str:
        problem = "neither a preset (.yaml) nor key=value"
        if word in fields.keys(self.model):
            return f"a key without a value; write {word}=VALUE, without spaces"
        found = [
            path for suffix in PRESET_SUFFIXES for path in (f"{word}{suffix}", f"jobs/presets/{word}{suffix}")
        ]
        found = [path for path in found if word and isfile(find_preset(Path(path)))]
        return f"{problem}; did you mean {found[0]}?" if found else problem

    def _read_preset(self, path: Path) -> None:
        found = find_preset(path)
        if not exists(found):
            near = difflib.get_close_matches(path.name, _presets(path), n=1, cutoff=0.6)
            self.mistakes.append(
                f"{path}: no such preset" + (f"; did you mean {path.parent / near[0]}?" if near else "")
            )
            return
        try:
            node = read_nodes(found)
        except UserError as error:
            self.mistakes.append(str(error))
            return
        if node is not None:
            self._merge(node, str(path))

    def _read_pair(self, key: str, text: str) -> None:
        if not key:
            self.mistakes.append(f"={text}: a value without a key; write key=value, without spaces")
            return
        try:
            node = word_node(text, f"{key}={text}")
        except UserError as error:
            self.mistakes.append(f"{error}; quote it to mean text: '{key}=\"…\"'")
            return
        # A word is a mapping with one dotted key.
        mark = node.start_mark
        name = ScalarNode(STR, key, mark, mark)
        self._merge(MappingNode("", [(name, node)], mark, mark), "")

    def _merge(self, node: MappingNode, name: str) -> None:
        self._name, self._seen = name, {}
        self._walk(self.model, node, ())

    def _walk(self, annotation: Any, node: Node, path: tuple[str, ...]) -> None:
        section = fields.section_of(annotation)
        if isinstance(node, MappingNode) and section is not None:
            for key, value in node.value:
                self._enter(section, key.value, value, path)
            if path and not node.value:
                # gate={} turns an optional section on.
                self._set(path, {}, node)
        elif isinstance(node, MappingNode) and node.value and fields.is_table(annotation):
            for key, value in node.value:
                self._walk(fields.step(annotation, key.value), value, (*path, key.value))
        elif section is not None and not (node.tag == NULL and fields.is_optional(annotation)):
            if node.tag != NULL:
                self._mistake(node, path, self._is_section(section, path, node))
            # An empty section (all its lines are comments) changes nothing.
        else:
            self._set(path, settle(annotation, node), node)

    def _enter(self, section: Model, key: str, node: Node, path: tuple[str, ...]) -> None:
        """Go down one key of a section; a dotted key goes down several."""
        annotation = fields.field_of(section, key)
        if annotation is not None:
            self._walk(annotation, node, (*path, key))
            return
        head, _, rest = key.partition(".")
        annotation = fields.field_of(section, head)
        if annotation is None or not rest:
            self._mistake(node, (*path, key), f"no such key{self._hint('.'.join((*path, key)))}")
            return
        path = (*path, head)
        inner = fields.section_of(annotation)
        if inner is None and fields.is_table(annotation):
            # The rest names one entry, perhaps with a key of it: search.optim.lr, search.optim.lr.grid.
            entry, tail = _entry(fields.section_of(fields.step(annotation, rest)), rest)
            inner = fields.section_of(fields.step(annotation, entry))
            if inner is not None and tail:
                self._enter(inner, tail, node, (*path, entry))
            else:
                self._walk(fields.step(annotation, rest), node, (*path, rest))
        elif inner is None:
            self._mistake(node, (*path, rest), f"{'.'.join(path)} is a single value without keys of its own")
        else:
            self._enter(inner, rest, node, path)

    def _hint(self, key: str) -> str:
        """Say which key was probably meant, or else what its section has."""
        own, all_sections = fields.keys(self.model), fields.sections(self.model)
        near = nearest(key, [word for word in (*own, *all_sections) if not key.startswith(f"{word}.")])
        if near:
            self.meant |= set(near)
            return f"; did you mean {join(near)}?"
        above = key.rpartition(".")[0]
        return f"; {above} has {_listed(above, own)}" if above in all_sections else ""

    def _is_section(self, section: Model, path: tuple[str, ...], node: Node) -> str:
        key = ".".join(path)
        own = fields.keys(section)
        if isinstance(node, ScalarNode) and isinstance(scalar(node), str):
            text = [name for name, info in own.items() if "str" in fields.kinds(info.annotation)]
            if text:
                best = f"{key}.{'name' if 'name' in text else text[0]}"
                self.meant.add(best)
                return f"{key} is a section; did you mean {best}={node.value}?"
        return f"{key} is a section; it has {join(list(own), 'and')}"

    def _set(self, path: tuple[str, ...], value: Any, node: Node) -> None:
        line = node.start_mark.line + 1
        if path in self._seen:
            self._mistake(node, path, f"set a second time (first in line {self._seen[path]})")
            return
        self._seen[path] = line
        self.origins[path] = f" ({self._name} line {line})" if self._name else ""
        values = self.values
        for part in path[:-1]:
            # A section or table that an earlier word set to null starts anew.
            if not isinstance(values.get(part), dict):
                values[part] = {}
            values = values[part]
        if not (value == {} and isinstance(values.get(path[-1]), dict)):
            values[path[-1]] = value

    def _mistake(self, node: Node, path: tuple[str, ...], problem: str) -> None:
        given = f"={show(scalar(node))}" if isinstance(node, ScalarNode) else ""
        where = f" ({self._name} line {node.start_mark.line + 1})" if self._name else ""
        self.mistakes.append(f"{'.'.join(path)}{given}: {problem}{where}")


def _entry(row: Model | None, rest: str) -> tuple[str, str]:
    """Split the rest of a dotted key into the entry of a table, which may have dots, and a key of its row."""
    parts = rest.split(".")
    for cut in range(1, len(parts)):
        if row is not None and fields.field_of(row, parts[cut]) is not None:
            return ".".join(parts[:cut]), ".".join(parts[cut:])
    return rest, ""


def _listed(section: str, keys: Iterable[str]) -> str:
    inside = f"{section}."
    return join([key.removeprefix(inside) for key in keys if key.startswith(inside)], "and")


def find_preset(path: Path) -> Path:
    """Return where a preset is: as given, else below the folder that holds `lib` and `jobs`."""
    beside = INSTALLED / path
    return path if exists(path) or path.is_absolute() or not exists(beside) else beside


def _presets(path: Path) -> list[str]:
    folders = [folder for folder in {path.parent, INSTALLED / path.parent} if isdir(folder)]
    return sorted(
        {each.name for folder in folders for suffix in PRESET_SUFFIXES for each in folder.glob(f"*{suffix}")}
    )
