"""Which network is trained, and what it starts from."""

from typing import Literal

from pydantic import Field

from lib.config.section import Count, Section

Stem = Literal["auto", "standard", "small"]


class ModelSection(Section):
    """Which network, and what it starts from."""

    name: str = Field(default="resnet18", examples=["resnet18", "lenet5", "timm:convnext_atto"])
    """A torchvision classification model, lenet5, mobilenet_v1, resnet8, resnet14, resnet20, timm:NAME, or
    package.module:function."""
    weights: str = Field(default="none", examples=["none", "default", "resnet18.pth", "runs/x/bundle"])
    """none starts from random weights, default takes the library's pretrained ones (a download), FILE
    takes a local .safetensors, .pth or .pt, a bundle goes on from where another run ended: its head is
    taken over by the names of the classes. For other classes the head is new."""
    image_size: Count | None = None
    """Side of the square that the network sees; by default the network's own, or the bundle's. It sets how
    large vit_* and lenet5 are built; vit_* take multiples of their patch."""
    stem: Stem = "auto"
    """First layers. small keeps the resolution: 3x3 with stride 1 and no max-pool in ResNets (ResNeXt, wide),
    DenseNets, GoogLeNet, ShuffleNets, SqueezeNets and AlexNet; stride 1 in MobileNets, EfficientNets,
    MNASNets, RegNets and Inception v3 (which loses a max-pool too); patches of 2 px for 4 in ConvNeXt and
    Swin; timm's alike. VGG, ViT, MaxViT, lenet5, resnet8, resnet14 and resnet20 have none. auto takes it for
    random weights at 64 px or less, where there is one; a bundle brings its own, a file is standard."""
    channels: Literal["auto", 1, 3] = "auto"
    """auto gives the network one channel when every picture of the dataset is grey; the first layer of
    pretrained weights is summed over its channels then, which changes no answer."""
