"""LeNet-5 behind a pause, as a network of the user's own: `tests.jobs.throttled:network`."""

import time
from typing import Any

from torch import Tensor, nn

from lib.models.lenet import LeNet5

PAUSE_S = 0.03


class Throttled(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        time.sleep(PAUSE_S)
        return self.network(images)


def network(num_classes: int, channels: int, image_size: int) -> nn.Module:
    return Throttled(LeNet5(num_classes, channels, image_size))
