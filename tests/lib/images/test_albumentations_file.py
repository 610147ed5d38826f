import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lib.errors import UserError
from lib.images.albumentations_file import read_pipeline
from lib.images.augment import check_policy, train_transform
from lib.images.randomness import seeded
from lib.images.spec import PreprocessSpec
from tests.conftest import encode

SPEC = PreprocessSpec(32, 32, 3)


def saved(folder: Path, *transforms: dict[str, Any], name: str = "pipeline.json") -> str:
    """Write a pipeline as albumentations.save does."""
    pipeline = {"__class_fullname__": "Compose", "p": 1.0, "transforms": list(transforms)}
    text = json.dumps({"__version__": "2.0.8", "transform": pipeline})
    (folder / name).write_text(text)  # JSON is YAML as well
    return str(folder / name)


def transform(name: str, p: float = 1.0, **options: Any) -> dict[str, Any]:
    return {"__class_fullname__": name, "p": p, **options}


def busy() -> list[dict[str, Any]]:
    """Return transforms that draw from Python, numpy and OpenCV, nested and not."""
    return [
        transform("RandomBrightnessContrast"),
        transform("OneOf", transforms=[transform("GaussNoise"), transform("MotionBlur")]),
        transform("GaussNoise", p=0.5),
        transform("ElasticTransform", p=0.5),
        transform("CoarseDropout", p=0.5),
    ]


def picture(channels: int = 3) -> Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, channels), np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def test_it_does_what_the_library_does(tmp_path: Path) -> None:
    import albumentations

    pipeline = albumentations.Compose([albumentations.HorizontalFlip(p=1), albumentations.InvertImg(p=1)])
    for name, data_format in (("saved.json", "json"), ("saved.yaml", "yaml")):
        albumentations.save(pipeline, tmp_path / name, data_format=data_format)
        step = read_pipeline(str(tmp_path / name))
        assert torch.equal(step(picture()), 255 - picture().flip(-1))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_seed_alone_decides_in_any_thread(tmp_path: Path, channels: int) -> None:
    step = read_pipeline(saved(tmp_path, *busy()))

    def draw(seed: int) -> Tensor:
        with seeded(seed):
            return step(picture(channels))

    state = torch.random.get_rng_state()
    expected = [draw(seed) for seed in range(24)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert len({pixels.numpy().tobytes() for pixels in expected}) == 24
    assert all(pixels.shape == (channels, 32, 32) for pixels in expected)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(draw, [*range(24)] * 2))
    assert all(torch.equal(a, b) for a, b in zip(expected * 2, found, strict=True))


def test_transforms_of_a_pipeline_draw_apart_from_each_other(tmp_path: Path) -> None:
    # Seeded alike, both would be applied, or neither.
    step = read_pipeline(
        saved(tmp_path, transform("HorizontalFlip", p=0.5), transform("VerticalFlip", p=0.5))
    )
    outcomes = set()
    for seed in range(32):
        with seeded(seed):
            outcomes.add(step(picture()).numpy().tobytes())
    assert len(outcomes) == 4


def test_it_is_a_policy_after_the_crop(tmp_path: Path) -> None:
    data = encode(np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8))
    file = saved(tmp_path, transform("InvertImg"), name="invert.yml")
    inverted = train_transform(f"albumentations:{file}", SPEC)(data, 5)
    assert torch.equal(inverted, 255 - train_transform("light", SPEC)(data, 5))
    check_policy(f"albumentations:{file}", SPEC)


@pytest.mark.parametrize(
    "last",
    [
        transform("Normalize"),
        transform("ToTensorV2"),
        transform("Resize", height=64, width=64),
        transform("RandomCrop", height=224, width=224),
        transform("MaskDropout"),
    ],
)
def test_a_pipeline_that_does_more_than_augment_is_found_out(tmp_path: Path, last: dict[str, Any]) -> None:
    file = saved(tmp_path, transform("HorizontalFlip"), last)
    with pytest.raises(UserError, match=rf"augment.policy=albumentations:{file} (makes|fails on) .*32, 32"):
        check_policy(f"albumentations:{file}", SPEC)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("pipeline.json", "{", "is not a pipeline of albumentations"),
        ("pipeline.yaml", "- 1", "is not a pipeline of albumentations"),
        ("pipeline.json", '{"format": 1}', "names 'transform', which albumentations"),
        ("pipeline.txt", "", "is neither .json nor .yaml"),
    ],
)
def test_a_file_that_is_no_pipeline(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=rf"(?s){sentence}.*albumentations.save"):
        read_pipeline(str(tmp_path / name))


def test_what_the_library_does_not_know_or_refuses(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"names 'NoSuchTransform', which albumentations .* does not know"):
        read_pipeline(saved(tmp_path, transform("NoSuchTransform")))
    with pytest.raises(UserError, match="is not a pipeline"):
        read_pipeline(saved(tmp_path, transform("RandomBrightnessContrast", brightness_limit="a lot")))
    with pytest.raises(UserError, match="there is no such file"):
        read_pipeline(str(tmp_path / "missing.json"))


def test_the_library_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "albumentations", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"pip install 'manta\[albumentations\]'"):
        read_pipeline(saved(tmp_path, transform("InvertImg")))
