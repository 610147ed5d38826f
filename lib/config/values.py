"""A YAML node as the value that its field takes.

settle(str, word_node("007", "run.name=007"))     # "007": a text field gets what was typed
settle(int, word_node("1e3", "train.epochs=1e3")) # 1000
"""

from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from lib.config import fields
from lib.config.yaml_read import FLOAT, INT, NULL, STR, compose, scalar

# What starts these has a meaning in YAML that a word cannot use, so the word is plain text.
_TEXT_STARTS = tuple("*&!@%`|>#")


def word_node(text: str, word: str) -> Node:
    """Parse the value of `key=value`; what YAML would cut short (`a # b`) or cannot use (`*.tar`) is text."""
    typed = text.strip()
    blank = compose("''", word)
    assert blank is not None
    mark = blank.start_mark
    if typed.startswith(_TEXT_STARTS) or typed == "-":
        return ScalarNode(STR, typed, mark, mark)
    node = compose(typed, word)
    if node is None:
        return ScalarNode(STR if typed else NULL, typed, mark, mark)
    if isinstance(node, ScalarNode) and node.style is None and node.value != typed:
        return ScalarNode(STR, typed, mark, mark)
    return node


def settle(annotation: Any, node: Node) -> Any:
    """Return the value of a node for a field of this annotation (None when there is no such field)."""
    if isinstance(node, SequenceNode):
        return [settle(fields.step(annotation, index), item) for index, item in enumerate(node.value)]
    if isinstance(node, MappingNode):
        return {key.value: settle(fields.step(annotation, key.value), value) for key, value in node.value}
    assert isinstance(node, ScalarNode)
    value = scalar(node)
    taken = fields.kinds(annotation) if annotation is not None else {"any"}
    if node.tag in (NULL, STR) or "any" in taken or type(value).__name__ in taken:
        return value
    if node.tag == INT and "float" in taken:
        return value
    if node.tag == FLOAT and "int" in taken and isinstance(value, float) and value.is_integer():
        return int(value)
    return node.value if "str" in taken else value
