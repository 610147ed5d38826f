"""The CIFAR family of ResNets, 6n + 2 layers deep: small enough to train on a CPU.

    model = resnet_small(depth=20, num_classes=10, channels=3)   # 0.27 million parameters

He et al. 2015, "Deep residual learning for image recognition", section 4.2: a 3x3 stem, three
stages of n blocks with 16, 32 and 64 channels, parameter-free shortcuts (option A), global pooling.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut that subsamples and pads with zero channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.extra_channels = outputs - inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] to [b, outputs, ceil(h / stride), ceil(w / stride)]."""
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.extra_channels:
            shortcut = functional.pad(shortcut, (0, 0, 0, 0, 0, self.extra_channels))
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + shortcut)


class ResNetSmall(nn.Module):
    """Stem, three stages, linear head: [b, channels, h, w] to [b, num_classes]."""

    def __init__(self, blocks_per_stage: int, num_classes: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], blocks_per_stage, stride=1)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], blocks_per_stage, stride=2)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], blocks_per_stage, stride=2)
        self.fc = nn.Linear(WIDTHS[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch of images."""
        x = functional.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(torch.mean(x, dim=(2, 3)))
        return logits


def resnet_small(depth: int, num_classes: int, channels: int) -> ResNetSmall:
    """The ResNet with `depth` = 6n + 2 weighted layers."""
    assert depth % 6 == 2, f"depth {depth} is not 6n + 2"
    return ResNetSmall((depth - 2) // 6, num_classes, channels)


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = Block(inputs, outputs, stride)
    return nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))
