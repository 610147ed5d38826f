import pytest
import torchvision

from lib.models.build import build_model
from lib.models.sizes import build_skeleton
from lib.models.table import count_flops, model_table


def test_table_agrees_with_what_torchvision_publishes() -> None:
    names = ["alexnet", "resnet18", "mobilenet_v2", "regnet_y_400mf", "vit_b_32", "swin_t", "squeezenet1_1"]
    for row in model_table(names):
        meta = torchvision.models.get_model_weights(row.name).DEFAULT.meta
        assert row.parameters == meta["num_params"]
        # Published in 10^9 multiply-adds with three digits, and taken from there; we count the same.
        counted = count_flops(build_skeleton(row.name, 1000), 3, 224)
        assert row.flops == pytest.approx(counted, rel=0.02, abs=2e6)
        assert row.size_mb == pytest.approx(4e-6 * row.parameters, rel=0.01)
        assert row.imagenet_accuracy == pytest.approx(meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100)
        assert row.image_size == 224


def test_own_networks_are_in_the_table() -> None:
    lenet, resnet = model_table(["lenet5", "resnet8"], num_classes=10)
    assert (lenet.parameters, lenet.image_size, lenet.channels) == (44_426, 28, 1)
    assert (resnet.image_size, resnet.channels, resnet.imagenet_accuracy) == (32, 3, None)
    assert lenet.strengths == ("fewest parameters", "fewest operations")


def test_efficientnets_grow_in_depth_width_and_resolution_together() -> None:
    """Compound scaling, Tan and Le 2019, equations 2 and 3: depth 1.2^n, width 1.1^n, resolution 1.15^n."""
    rows = model_table([f"efficientnet_b{number}" for number in range(8)])
    for column in ("layers", "features", "image_size", "flops", "parameters"):
        values = [getattr(row, column) for row in rows]
        assert values == sorted(values)
    first, last = rows[0], rows[-1]
    assert last.features / first.features == 2.0  # torchvision's width for B7
    assert last.layers / first.layers == pytest.approx(3.1, rel=0.1)  # and its depth
    assert (first.image_size, last.image_size) == (224, 600)


def test_timm_networks_tell_what_their_default_weights_are() -> None:
    (row,) = model_table(["timm:convnext_atto"])
    assert row.weights.startswith("default (")
    assert (row.image_size, row.features, row.imagenet_accuracy) == (224, 320, None)


def test_strengths_compare_the_rows() -> None:
    small, large, dominated = model_table(["mobilenet_v2", "resnet50", "googlenet"])
    assert "fewest operations" in small.strengths
    assert "most accurate" in large.strengths
    assert dominated.strengths == ()


def test_flops_are_the_same_on_a_device_with_memory() -> None:
    model = build_model("resnet8", 10, image_size=32)
    assert count_flops(model, 3, 32) == model_table(["resnet8"], num_classes=10)[0].flops
