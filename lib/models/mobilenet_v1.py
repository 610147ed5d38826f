"""MobileNet v1 at width 1.0: depthwise separable convolutions, 8 to 9 times cheaper than plain ones.

    model = mobilenet_v1(num_classes=1000)                    # 4.2 million parameters
    plain = mobilenet_v1(num_classes=1000, separable=False)   # same shape, plain 3x3 convolutions

Howard et al. 2017, "MobileNets: efficient convolutional neural networks for mobile vision
applications", table 1.
"""

import torch
from torch import Tensor, nn

# (output channels, stride) of the 13 blocks behind the stem.
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)


def conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution that keeps the size (but for its stride), BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Separable(nn.Module):
    """A depthwise 3x3 convolution that looks around, then a pointwise 1x1 one that mixes channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = conv_bn_relu(inputs, inputs, 3, stride, groups=inputs)
        self.pointwise = conv_bn_relu(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] to [b, outputs, h / stride, w / stride]."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class MobileNetV1(nn.Module):
    """A strided stem, 13 blocks and a linear head: [b, channels, h, w] to [b, num_classes]."""

    def __init__(self, num_classes: int, channels: int, separable: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn_relu(channels, 32, 3, stride=2)]
        inputs = 32
        for outputs, stride in BLOCKS:
            block = (
                Separable(inputs, outputs, stride) if separable else conv_bn_relu(inputs, outputs, 3, stride)
            )
            layers.append(block)
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch of images."""
        logits: Tensor = self.classifier(torch.mean(self.features(images), dim=(2, 3)))
        return logits


def mobilenet_v1(num_classes: int, channels: int = 3, *, separable: bool = True) -> MobileNetV1:
    """MobileNet v1; `separable=False` gives the plain network it is measured against."""
    return MobileNetV1(num_classes, channels, separable)
