import pytest

from lib.config.optimisation import OptimSection
from lib.config.schema import FinetuneConfig
from lib.errors import UserError
from lib.models.sizes import build_skeleton
from lib.train.rates import check_factors, group_factors, group_lines


def config(**sections: dict[str, object]) -> FinetuneConfig:
    return FinetuneConfig.model_validate({"data": {"root": "x"}, **sections})


@pytest.mark.parametrize(
    ("optim", "factors"),
    [
        ({}, [1, 1, 1, 1]),
        ({"layer_decay": 0.5}, [0.125, 0.25, 0.5, 1]),
        ({"lr": 0.1, "head_lr": 1.0}, [1, 1, 1, 10]),
        ({"lr": 0.1, "layer_decay": 0.5, "head_lr": 0.2}, [0.125, 0.25, 0.5, 2]),
        ({"layer_factors": [0.1, 0.2, 1, 2]}, [0.1, 0.2, 1, 2]),
    ],
)
def test_factors_of_depth_groups(optim: dict[str, object], factors: list[float]) -> None:
    assert group_factors(OptimSection.model_validate(optim), 4) == pytest.approx(factors)


def test_there_is_a_factor_for_each_group() -> None:
    skeleton = build_skeleton("resnet18", 3)
    check_factors(config(optim={"layer_factors": [0.1, 0.2, 0.4, 0.7, 1, 2]}), skeleton)
    check_factors(config(), skeleton)
    with pytest.raises(UserError, match="2 factors; resnet18 has 6 depth groups") as caught:
        check_factors(config(optim={"layer_factors": [0.1, 1]}), skeleton)
    assert caught.value.hint == "give one for each of: stem, layer1, layer2, layer3, layer4, fc"


def test_lines_tell_who_learns_when_and_how_fast() -> None:
    skeleton = build_skeleton("resnet18", 3)
    factors = [0.1, 0.2, 0.4, 0.7, 1, 2]
    lines = group_lines(
        config(train={"freeze": "gradual", "epochs": 20}, optim={"lr": 0.01, "layer_factors": factors}),
        skeleton,
    )
    assert [" ".join(line.split()) for line in lines] == [
        "stem 9,536 trained from epoch 16, lr 0.001",
        "layer1 147,968 trained from epoch 13, lr 0.002",
        "layer2 525,568 trained from epoch 10, lr 0.004",
        "layer3 2,099,712 trained from epoch 7, lr 0.007",
        "layer4 8,393,728 trained from epoch 4, lr 0.01",
        "fc 1,539 trained, lr 0.02",
    ]
    assert group_lines(config(train={"freeze": "most"}), skeleton)[0].endswith("frozen")
