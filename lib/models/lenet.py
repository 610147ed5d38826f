"""LeNet-5 with ReLU and average pooling, for any number of channels and any image size from 16 px.

    model = lenet5(num_classes=10, channels=1, image_size=28)   # 44,426 parameters

LeCun et al. 1998, "Gradient-based learning applied to document recognition", without padding.
"""

from torch import Tensor, nn

from lib.errors import UserError

KERNEL = 5
SMALLEST_IMAGE = 16  # 16 -> 12 -> 6 -> 2 -> 1: one pixel is left for the linear layers


class LeNet5(nn.Module):
    """Two convolutions with pooling, then three linear layers: [b, channels, s, s] to [b, num_classes]."""

    def __init__(self, num_classes: int, channels: int, image_size: int) -> None:
        super().__init__()
        side = ((image_size - KERNEL + 1) // 2 - KERNEL + 1) // 2
        self.features = nn.Sequential(
            nn.Conv2d(channels, 6, KERNEL),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, KERNEL),
            nn.ReLU(),
            nn.AvgPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * side * side, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch of images."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def lenet5(num_classes: int, channels: int, image_size: int) -> LeNet5:
    """LeNet-5 whose first linear layer is as wide as `image_size` needs."""
    if image_size < SMALLEST_IMAGE:
        raise UserError(
            f"lenet5 cannot work at image_size={image_size}: nothing is left after its two poolings",
            f"give {SMALLEST_IMAGE} or more (its own size is 28)",
        )
    return LeNet5(num_classes, channels, image_size)
