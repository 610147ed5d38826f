import io
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from lib.errors import UserError
from lib.images.augment import POLICIES, check_policy, train_transform
from lib.images.decode import ImageError
from lib.images.preprocess import prepare
from lib.images.spec import PreprocessSpec

SMALL_GREY = PreprocessSpec(32, 32, 1, mean=(0.5,), std=(0.5,))
LARGE_COLOUR = PreprocessSpec(96, 112, 3)
SPECS = pytest.mark.parametrize("spec", [SMALL_GREY, LARGE_COLOUR], ids=["small-grey", "large-colour"])


@pytest.fixture(scope="module")
def picture() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (120, 150, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@SPECS
@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_depends_on_the_seed_alone(policy: str, spec: PreprocessSpec, picture: bytes) -> None:
    transform = train_transform(policy, spec)
    state = torch.random.get_rng_state()
    expected = [transform(picture, seed) for seed in range(8)]
    assert torch.equal(torch.random.get_rng_state(), state)
    for pixels in expected:
        assert pixels.dtype == torch.uint8
        assert pixels.shape == (spec.channels, spec.image_size, spec.image_size)
    assert len({pixels.numpy().tobytes() for pixels in expected}) > 4
    torch.manual_seed(99)
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda seed: train_transform(policy, spec)(picture, seed), range(8)))
    assert all(torch.equal(a, b) for a, b in zip(expected, again, strict=True))


@SPECS
def test_none_is_what_evaluation_does(spec: PreprocessSpec, picture: bytes) -> None:
    transform = train_transform("none", spec)
    assert torch.equal(transform(picture, 1), prepare(picture, spec))
    assert torch.equal(transform(picture, 2), prepare(picture, spec))


def test_small_pictures_are_shifted_not_scaled() -> None:
    stream = io.BytesIO()
    Image.new("L", (32, 32), 200).save(stream, "PNG")
    for seed in range(10):
        pixels = train_transform("light", SMALL_GREY)(stream.getvalue(), seed)
        assert set(pixels.unique().tolist()) <= {0, 200}
        assert (pixels == 200).float().mean() >= (28 / 32) ** 2


def test_an_unknown_policy_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"augment\.policy=standart is not a policy") as caught:
        train_transform("standart", LARGE_COLOUR)
    assert "standard" in caught.value.hint


@pytest.mark.parametrize("name", ["no_such_module:f", "json:no_such_function", ":f"])
def test_a_policy_that_cannot_be_imported(name: str) -> None:
    with pytest.raises(UserError, match="cannot be imported"):
        train_transform(name, LARGE_COLOUR)


def test_a_stage_of_small_pictures_is_cropped_as_the_large_ones_are(picture: bytes) -> None:
    small = PreprocessSpec(32, 37, 3)
    shifted, cropped = (train_transform("light", small, final_size=size) for size in (None, 224))
    # A crop of a third of the picture and less than all of it is not what moving the centre gives.
    box = train_transform("light", small, final_size=224, scale=(0.1, 0.2))
    assert not torch.equal(box(picture, 1), shifted(picture, 1))
    assert not torch.equal(cropped(picture, 1), shifted(picture, 1))
    assert torch.equal(shifted(picture, 1), train_transform("light", small, final_size=64)(picture, 1))


def _own_module(folder: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> str:
    """Write a module whose policy is one step on pixels, given as an expression; return its name."""
    code = f"import torch\n\n\ndef build(spec):\n    return [lambda pixels: {step}]\n"
    (folder / "tried_policy.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "tried_policy", raising=False)
    return "tried_policy:build"


@SPECS
@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ("pixels[:, :-1]", r"makes uint8 \[\d, (31|95), (32|96)\] of uint8"),
        ("pixels / 255", r"makes float32 \["),
        ("pixels[:, :5] if torch.rand(()) < 0.5 else pixels", "makes uint8"),
        ("pixels.no_such_method()", "fails on uint8 .*AttributeError: .*no_such_method"),
    ],
)
def test_a_policy_from_outside_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: PreprocessSpec, step: str, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        check_policy(_own_module(tmp_path, monkeypatch, step), spec)


@SPECS
def test_a_policy_that_works_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: PreprocessSpec
) -> None:
    check_policy(_own_module(tmp_path, monkeypatch, "pixels.flip(1)"), spec)
    check_policy("standard", spec)


def test_a_policy_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: bytes) -> None:
    code = "from torchvision.transforms import v2\n\n\ndef build(spec):\n    return [v2.RandomInvert(1.0)]\n"
    (tmp_path / "own_policy.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    own = train_transform("own_policy:build", LARGE_COLOUR)
    monkeypatch.delitem(sys.modules, "own_policy")
    expected: Tensor = v2.RandomInvert(1.0)(train_transform("light", LARGE_COLOUR)(picture, 3))
    assert torch.equal(own(picture, 3), expected)


@pytest.mark.parametrize("policy", ["none", "standard"])
def test_broken_pictures_and_limits_are_named(policy: str, picture: bytes) -> None:
    with pytest.raises(ImageError, match="not an image"):
        train_transform(policy, LARGE_COLOUR)(b"<html>", 0)
    with pytest.raises(ImageError, match="at most 100 "):
        train_transform(policy, LARGE_COLOUR, max_pixels=100)(picture, 0)
