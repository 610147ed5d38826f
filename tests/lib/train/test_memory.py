import pytest
import torch
from torch import nn

from lib.models.sizes import build_skeleton
from lib.train.memory import estimate_mb, forget_peak, peak_mb


def test_parameters_and_layer_outputs_are_counted() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(128, 2))
    parameters = 3 * 8 * 9 + 128 * 2 + 2
    outputs = 5 * (8 * 4 * 4 + 128 + 2)
    found = estimate_mb(model, "adamw", images=5, channels=3, image_size=4)
    assert found == pytest.approx((4 * parameters + outputs) * 4 / 1e6)


def test_blocks_that_are_computed_again_keep_their_outputs_and_the_largest_inside() -> None:
    with torch.device("meta"):
        blocks = [
            nn.Sequential(nn.Conv2d(8, n, 1, bias=False), nn.Conv2d(n, 8, 1, bias=False)) for n in (2, 4)
        ]
        model = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), *blocks)
    parameters = 3 * 8 + 2 * 2 * 8 + 2 * 4 * 8
    # Three outputs of 8 channels; inside the second block 4 and 8.
    outputs = 5 * (3 * 8 + 4 + 8) * 4 * 4
    found = estimate_mb(model, "sgd", images=5, channels=3, image_size=4, has_ema=True, blocks=["1", "2"])
    assert found == pytest.approx((4 * parameters + outputs) * 4 / 1e6)


def test_the_estimate_grows_with_the_batch() -> None:
    skeleton = build_skeleton("resnet18", num_classes=10)
    few, many = (estimate_mb(skeleton, "sgd", images=n, channels=3, image_size=224) for n in (8, 64))
    assert 150 < few < many / 3


def test_what_is_shared_out_counts_once_and_what_is_gathered_besides() -> None:
    with torch.device("meta"):
        model = nn.Sequential(
            nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 1, bias=False)
        )
    parameters = 3 * 8 + 16 + 8 * 6
    outputs = 5 * (8 + 8 + 6) * 4 * 4
    # Of the largest layer weights and gradients, and the weights of the next; the norm is in no unit.
    gathered = 3 * 8 * 6 + 2 * 16
    settings = {"images": 5, "channels": 3, "image_size": 4, "units": ["0", "2"]}
    found = estimate_mb(model, "adamw", shards=4, has_ema=True, **settings)
    assert found == pytest.approx((5 * parameters / 4 + gathered + outputs) * 4 / 1e6)


def test_the_peak_is_seen_and_forgotten() -> None:
    device = torch.device("cpu")
    forget_peak(device)
    before = peak_mb(device)
    held = torch.ones(50_000_000)  # 200 MB
    assert peak_mb(device) >= before + 190
    del held
    forget_peak(device)
    assert peak_mb(device) < before + 100
