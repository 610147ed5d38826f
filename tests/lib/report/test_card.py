import ast
import re

import numpy as np

from lib.images.spec import PreprocessSpec
from lib.metrics import Outcomes, per_class, summarise
from lib.report.card import model_card

OUTCOMES = Outcomes.from_probabilities(
    np.arange(4),
    np.array([0, 1, 1, 1]),
    np.array([[0.7, 0.2, 0.1], [0.9, 0.05, 0.05], [0.3, 0.4, 0.3], [0.5, 0.3, 0.2]]),
)
GREY = PreprocessSpec(image_size=28, resize_size=28, channels=1, mean=(0.5,), std=(0.5,))


def card(**changes):
    arguments = {
        "name": "digits",
        "arch": "lenet5",
        "classes": ["a", "b", "c"],
        "preprocess": GREY,
        "metrics": {"test": summarise(OUTCOMES, 3)},
        "dataset_digest": "3f9a12c0",
    }
    return model_card(**(arguments | changes))


def test_card_states_what_is_known():
    text = card(training={"seed": 7, "weights": "none"}, rows=per_class(OUTCOMES, ["a", "b", "c"]))
    assert text.startswith("# digits\n")
    assert "lenet5 with 3 classes" in text
    assert re.search(r"\| test \| 4 \| 50\.0% \| 15\.0% to 85\.0% \|", text)
    assert "- dataset digest: 3f9a12c0" in text
    assert "- seed: 7" in text
    assert "28 by 28 pixels in grey." in text
    assert "measured on 4 images of test" in text
    assert "least often: b (33.3% of 3)." in text
    assert "1 class had no image" in text
    assert "python -m serving bundle=." in text


def test_the_python_of_the_card_parses_and_names_the_bundle():
    code = re.search(r"```python\n(.*?)```", card(bundle="/data/my 'bundle'"), re.DOTALL).group(1)
    calls = [
        n
        for n in ast.walk(ast.parse(code))
        if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "Predictor"
    ]
    assert ast.literal_eval(calls[0].args[0]) == "/data/my 'bundle'"


def test_only_fifty_classes_are_listed():
    text = card(classes=[f"class {i}" for i in range(60)])
    assert "class 49, and 10 more" in text
    assert "class 50" not in text


def test_names_cannot_break_the_markdown():
    text = card(classes=["<script>", "a|b", "two\nlines"], metrics={"te|st": summarise(OUTCOMES, 3)})
    assert r"\<script\>, a\|b, two lines" in text
    assert r"| te\|st |" in text
    assert "<script>" not in text.replace(r"\<script\>", "")


def test_without_facts_nothing_is_claimed():
    text = card(metrics={})
    assert "Nothing has been measured." in text
    assert "measured on" not in text
    assert "least often" not in text


def test_what_a_centre_crop_hides_is_said():
    assert "central 224 of 256 pixels" in card(preprocess=PreprocessSpec(image_size=224, resize_size=256))
