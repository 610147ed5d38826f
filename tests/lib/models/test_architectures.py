"""What holds for every network, on the meta device: no memory, no arithmetic."""

import pytest

from lib.config.names import MANTA_MODELS, TORCHVISION_MODELS
from lib.models.build import build_model
from lib.models.defaults import default_preprocess
from lib.models.groups import depth_groups
from lib.models.head import aux_paths, head_path
from lib.models.sizes import build_skeleton, check_image_size
from lib.models.stem import first_conv


@pytest.mark.parametrize("name", MANTA_MODELS + TORCHVISION_MODELS)
def test_every_network_reads_grey_and_has_groups_of_all_its_parameters(name: str) -> None:
    size = default_preprocess(name)["image_size"]
    model = build_skeleton(name, 7, channels=1, image_size=size)
    conv = first_conv(model)
    assert conv is not None
    assert conv[1].in_channels == 1
    # Raises unless [b, 1, size, size] becomes [b, 7], auxiliary heads included.
    check_image_size(model, name, num_classes=7, channels=1, image_size=size)

    groups = depth_groups(model)
    assert len(groups) == (5 if name in ("lenet5", "resnet8") else 6)
    assert sorted(p for group in groups for p in group.parameters) == sorted(dict(model.named_parameters()))
    assert all(group.parameters for group in groups)
    head = (*aux_paths(model), head_path(model))
    assert groups[-1].modules == head
    assert all(p.startswith(tuple(f"{path}." for path in head)) for p in groups[-1].parameters)
    assert len({group.name for group in groups}) == len(groups)


def test_an_auxiliary_head_for_which_the_image_is_too_small_is_left_out() -> None:
    assert aux_paths(build_skeleton("inception_v3", 7, image_size=298)) == ()
    assert aux_paths(build_skeleton("inception_v3", 7, image_size=299)) == ("AuxLogits",)
    assert build_model("inception_v3", 7, image_size=96).aux_logits is False
    assert aux_paths(build_skeleton("googlenet", 7, image_size=32)) == ("aux1", "aux2")
