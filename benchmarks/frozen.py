"""Training a head on a frozen backbone the usual way, for benchmarks/train.py: a process of its own.

python benchmarks/frozen.py '{"photos": "head", "model": "resnet18", "weights": "start.safetensors", ...}'

After torchvision's tutorial on transfer learning ("ConvNet as fixed feature extractor"): the backbone
does not require gradients, the head is new, and every epoch trains on random crops and validates. The best
one counts, and then answers the test pictures. The last line is JSON.
"""

import copy
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader


@dataclass(frozen=True)
class Work:
    """What is to be trained."""

    photos: str
    """Folder with train/ and val/, a folder of pictures for each class in each."""
    test: str
    """Folder of test pictures, of which each class has a folder."""
    model: str
    weights: str
    """Weights of the backbone."""
    preprocess: dict[str, Any]
    """As in a bundle: image_size, resize_size, interpolation, mean, std."""
    batch_size: int
    epochs: int
    lr: float
    workers: int
    """Processes that load."""


def main(work: Work) -> None:
    folders = {"train": f"{work.photos}/train", "val": f"{work.photos}/val", "test": work.test}
    loaders = {
        split: _loader(work, folder, is_training=split == "train") for split, folder in folders.items()
    }
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, head = _model(work, len(loaders["train"].dataset.classes))
    model.to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(head.parameters(), work.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, work.epochs * len(loaders["train"]))
    best, best_state = -1.0, model.state_dict()
    for epoch in range(work.epochs):
        model.train()
        for images, targets in loaders["train"]:
            optimizer.zero_grad()
            loss = criterion(model(images.to(device)), targets.to(device))
            loss.backward()
            optimizer.step()
            schedule.step()
        right = _right(model, loaders["val"], device)
        accuracy = sum(right) / len(right)
        if accuracy > best:
            best, best_state = accuracy, copy.deepcopy(model.state_dict())
        print(f"epoch {epoch} loss {loss.item():.3f} accuracy {accuracy:.4f}", flush=True)
    ended_at = time.time()
    model.load_state_dict(best_state)
    print(json.dumps({"ended_at": ended_at, "right": _right(model, loaders["test"], device)}))


def _right(model: nn.Module, loader: Any, device: torch.device) -> list[bool]:
    """Return for each picture whether the answer was right."""
    model.eval()
    found: list[bool] = []
    with torch.no_grad():
        for images, targets in loader:
            found += (model(images.to(device)).argmax(1).cpu() == targets).tolist()
    return found


def _loader(work: Work, folder: str, *, is_training: bool) -> Any:
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    spec = work.preprocess
    how = transforms.InterpolationMode(spec["interpolation"])
    crops = (
        [
            transforms.RandomResizedCrop(spec["image_size"], interpolation=how),
            transforms.RandomHorizontalFlip(),
        ]
        if is_training
        else [
            transforms.Resize(spec["resize_size"], interpolation=how),
            transforms.CenterCrop(spec["image_size"]),
        ]
    )
    last = [transforms.ToTensor(), transforms.Normalize(spec["mean"], spec["std"])]
    dataset = ImageFolder(folder, transforms.Compose([*crops, *last]))
    return DataLoader(dataset, work.batch_size, shuffle=is_training, num_workers=work.workers)


def _model(work: Work, num_classes: int) -> tuple[nn.Module, nn.Module]:
    """Return the network with its weights and a new head, and the head."""
    from safetensors.torch import load_file

    if work.model.startswith("timm:"):
        import timm

        model: nn.Module = timm.create_model(work.model.removeprefix("timm:"))
    else:
        import torchvision

        model = torchvision.models.get_model(work.model, weights=None)
    model.load_state_dict(load_file(work.weights))
    model.requires_grad_(False)
    path = next(name for name in ("fc", "classifier.1", "classifier") if _is_head(model, name))
    parent = model.get_submodule(path.rpartition(".")[0])
    head = nn.Linear(model.get_submodule(path).in_features, num_classes)
    setattr(parent, path.rpartition(".")[2], head)
    return model, head


def _is_head(model: nn.Module, path: str) -> bool:
    try:
        return isinstance(model.get_submodule(path), nn.Linear)
    except AttributeError:
        return False


if __name__ == "__main__":
    main(Work(**json.loads(sys.argv[1])))
