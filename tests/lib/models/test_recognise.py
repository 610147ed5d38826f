from pathlib import Path

import pytest
import torch
from torch import nn

from lib.errors import UserError
from lib.models.build import build_model
from lib.models.recognise import recognise
from lib.models.sizes import build_skeleton


def test_networks_are_recognised_by_their_backbone() -> None:
    # Neither the head nor grey images matter, nor the name that is tried first.
    state = dict(build_skeleton("densenet121", 5, channels=1, image_size=64, stem="small").state_dict())
    assert recognise(state, "resnet8") == ("densenet121", "small")


def test_what_is_of_no_network_here() -> None:
    assert recognise(dict(nn.Linear(2, 3).state_dict())) is None


@pytest.mark.parametrize(
    ("of", "stem", "hint"),
    [
        ("resnet34", "standard", "they are of resnet34: model.name=resnet34"),
        ("resnet18", "small", "they are of resnet18: model.stem=small"),
    ],
)
def test_weights_of_another_network_say_what_to_type(tmp_path: Path, of: str, stem: str, hint: str) -> None:
    file = tmp_path / "weights.pth"
    torch.save(build_model(of, 7, image_size=64, stem=stem).state_dict(), file)
    with pytest.raises(UserError, match="these weights are not of resnet18") as caught:
        build_model("resnet18", 7, image_size=64, weights=str(file))
    assert caught.value.hint == hint
