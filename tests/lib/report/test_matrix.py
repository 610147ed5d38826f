import xml.etree.ElementTree as ET

import numpy as np
import pytest

from lib.report.matrix import MAX_CLASSES, OTHERS, SHOWN_CLASSES, confusion_matrix, shown_classes


def told(svg):
    """What the filled cells say, and the labels that are drawn."""
    root = ET.fromstring(svg)
    cells = [node.find("title").text for node in root.iter("rect") if node.find("title") is not None]
    return cells, [node.text for node in root.iter("text")]


def test_cells_hold_counts_and_shares_of_the_row():
    svg = confusion_matrix(np.array([[8, 2], [0, 5]]), ["cat", "dog"])
    cells, labels = told(svg)
    assert cells == [
        "cat → cat: 8 of 10 (80.0%)",
        "cat → dog: 2 of 10 (20.0%)",
        "dog → dog: 5 of 5 (100%)",
    ]
    assert labels.count("cat") == labels.count("dog") == 2
    assert {"8", "2", "5", "true", "predicted"} <= set(labels)


@pytest.mark.parametrize("num_classes", [2, 10, 25, MAX_CLASSES])
def test_small_sets_are_drawn_whole(num_classes):
    matrix = np.full((num_classes, num_classes), 3)
    assert shown_classes(matrix) == list(range(num_classes))
    assert (
        len(told(confusion_matrix(matrix, [f"class {i}" for i in range(num_classes)]))[0]) == num_classes**2
    )


def test_a_large_set_shows_the_most_confused_and_gathers_the_rest():
    matrix = np.diag(np.full(1000, 50))
    matrix[700, 3] = 9
    matrix[3, 990] = 4
    shown = shown_classes(matrix)
    assert len(shown) == SHOWN_CLASSES
    assert {3, 700, 990} <= set(shown)
    svg = confusion_matrix(matrix, [f"class {i}" for i in range(1000)])
    cells, labels = told(svg)
    assert OTHERS in labels
    assert "class 700 → class 3: 9 of 59 (15.3%)" in cells
    assert len(svg) < 200_000


def test_every_shown_row_adds_up_to_its_support():
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 3, (60, 60))
    cells, _ = told(confusion_matrix(matrix, [f"{i}" for i in range(60)]))
    for index in shown_classes(matrix):
        row = [cell for cell in cells if cell.startswith(f"{index} → ")]
        counts = [int(cell.split(": ")[1].split(" of ")[0]) for cell in row]
        assert sum(counts) == matrix[index].sum()


def test_a_class_without_samples_is_an_empty_row():
    cells, labels = told(confusion_matrix(np.array([[0, 0], [1, 2]]), ["none", "some"]))
    assert not any(cell.startswith("none") for cell in cells)
    assert "none" in labels


def test_class_names_are_escaped():
    svg = confusion_matrix(np.eye(2, dtype=np.int64), ["<script>", 'a"&b'])
    assert "<script>" not in svg
    assert "<script>" in told(svg)[1]
