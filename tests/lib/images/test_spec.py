import json

import pytest

from lib.images.spec import PreprocessSpec


def test_a_specification_survives_json() -> None:
    spec = PreprocessSpec(28, 32, 1, "bicubic", (0.1307,), (0.3081,))
    assert PreprocessSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("image_size", "resize_size", "channels"), [(32, 28, 3), (0, 0, 3), (28, 28, 2), (28, 28, 1)]
)
def test_what_makes_no_sense_is_an_error_of_the_programmer(
    image_size: int, resize_size: int, channels: int
) -> None:
    with pytest.raises(AssertionError):
        PreprocessSpec(image_size, resize_size, channels)
