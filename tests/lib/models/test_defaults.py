import pytest

from lib.config.names import MANTA_MODELS, TORCHVISION_MODELS
from lib.errors import UserError
from lib.models.defaults import default_preprocess


def test_torchvisions_own_values() -> None:
    assert default_preprocess("resnet18", "default") == {
        "image_size": 224,
        "resize_size": 256,
        "interpolation": "bilinear",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }
    assert default_preprocess("efficientnet_b4")["image_size"] == 380
    assert default_preprocess("efficientnet_b0")["interpolation"] == "bicubic"
    assert default_preprocess("efficientnet_v2_l")["mean"] == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("name", MANTA_MODELS + TORCHVISION_MODELS)
def test_every_model_has_usable_values(name: str) -> None:
    for channels in (1, 3):
        values = default_preprocess(name, channels=channels)
        assert values["resize_size"] >= values["image_size"] > 0
        assert values["interpolation"] in ("bilinear", "bicubic")
        assert len(values["mean"]) == len(values["std"]) == channels


def test_own_networks() -> None:
    assert default_preprocess("lenet5", channels=1) == {
        "image_size": 28,
        "resize_size": 28,
        "interpolation": "bilinear",
        "mean": (0.5,),
        "std": (0.5,),
    }


def test_unknown_name() -> None:
    with pytest.raises(UserError, match="did you mean"):
        default_preprocess("resnet19")
