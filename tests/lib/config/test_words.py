import pytest

from lib.config.load import load
from lib.config.packing import CheckConfig
from lib.config.words import with_key


@pytest.mark.parametrize(
    "path",
    [
        "runs/digits",
        "a # b",
        "x: y",
        "007",
        "null",
        "*",
        "[a]",
        'say "it"',
        "back\\slash",
        "猫/🐈",
        "a/lr=3/d",
    ],
)
def test_a_first_word_becomes_the_value_of_the_key_as_it_is(path: str) -> None:
    assert load(CheckConfig, with_key([path, "decode=true"], "root")).config == CheckConfig(
        root=path, decode=True
    )


@pytest.mark.parametrize("words", [[], ["--help"], ["-h", "x"], ["root=a"], ["decode=true", "b"]])
def test_other_first_words_stay(words: list[str]) -> None:
    assert with_key(words, "root") == words
