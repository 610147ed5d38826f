from typing import get_args

import pytest
import torch

from lib.config.ensembles import Views
from lib.images.views import _VIEW, VIEWS, view

ALL = sorted(_VIEW)


def pictures(channels: int = 3, side: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, channels, side, side), dtype=torch.uint8, generator=generator)
    return pixels.contiguous(memory_format=torch.channels_last)


def test_the_sets_are_those_of_the_configuration_and_of_known_views() -> None:
    assert set(VIEWS) == set(get_args(Views))
    assert {name for names in VIEWS.values() for name in names} == set(ALL)
    for names in VIEWS.values():
        assert names[0] == "as_it_is"
        assert len(set(names)) == len(names)
    assert VIEWS["flips"][:2] == VIEWS["hflip"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_a_view_is_a_picture_of_the_same_kind_whatever_its_batch(name: str, channels: int) -> None:
    pixels = pictures(channels)
    seen = view(name, pixels)
    assert (seen.shape, seen.dtype) == (pixels.shape, torch.uint8)
    assert torch.equal(seen[1:2], view(name, pixels[1:2]))
    assert torch.equal(seen, pixels) == (name == "as_it_is")


@pytest.mark.parametrize("name", sorted(set(ALL) - {"darker", "brighter", "flatter", "starker"}))
def test_an_even_picture_stays_even_to_its_edges(name: str) -> None:
    even = torch.full((1, 3, 28, 28), 200, dtype=torch.uint8)
    assert (view(name, even).int() - 200).abs().max() <= 1


def test_views_show_what_their_names_say() -> None:
    pixels = pictures()
    assert torch.equal(view("mirrored", pixels), pixels.flip(-1))
    assert torch.equal(view("upside_down", pixels), pixels.flip(-2))
    assert torch.equal(view("half_turn", pixels), pixels.rot90(2, (-2, -1)))
    assert (
        view("darker", pixels).float().mean()
        < pixels.float().mean()
        < view("brighter", pixels).float().mean()
    )
    assert (
        view("flatter", pixels).float().std() < pixels.float().std() < view("starker", pixels).float().std()
    )


def test_corners_and_turns_go_where_they_should() -> None:
    dot = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    dot[..., 2:6, 2:6] = 255
    kept = {name: int(view(name, dot).gt(128).sum()) for name in VIEWS["five_crop"]}
    assert kept["top_left"] > kept["as_it_is"] > kept["bottom_right"]
    line = torch.zeros(1, 1, 33, 33, dtype=torch.uint8)
    line[..., 15:18, :] = 255
    # Counter-clockwise: the right end of a level line goes up.
    left, right = view("turned_left", line)[0, 0].float(), view("turned_right", line)[0, 0].float()
    assert left[:, -1].argmax() < 16
    assert right[:, -1].argmax() > 16
