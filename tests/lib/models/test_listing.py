import pytest

from lib.errors import UserError
from lib.models.listing import list_models


def test_a_table_with_a_line_per_network() -> None:
    title, resnet, lenet, timm, empty, *legend = list_models(
        ["resnet18", "lenet5", "timm:convnext_at?o", "lenet*"]
    ).splitlines()
    assert " ".join(title.split()) == "name params layers features GFLOPs MB px weights acc best at"
    assert " ".join(resnet.split()).startswith("resnet18 11,689,512 21 512 3.63 46.8 224 default 0.698 most")
    assert " ".join(lenet.split()[:4]) == "lenet5 128,576 5 84"
    assert " ".join(lenet.split()).endswith("28 none - fewest parameters, fewest operations")
    assert timm.startswith("timm:convnext_atto")
    assert empty == ""
    assert "a multiply-add counting as two" in " ".join(legend)


@pytest.mark.parametrize(
    ("pattern", "problem", "hint"),
    [
        ("resnet81", "there is no such network", "did you mean resnet8 or resnet18"),
        ("*nothing*", "there is no such network", "--list-models alone"),
        ("timm:*", "networks are too many", "narrow it"),
        ("timm:convnex", "there is no such network", "did you mean"),
        ("model.name=resnet18", "not a name of networks", "'resnet*'"),
    ],
)
def test_what_names_no_table(pattern: str, problem: str, hint: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        list_models([pattern])
    assert hint in caught.value.hint
