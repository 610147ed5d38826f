"""Training a head on a frozen backbone the usual way, for benchmarks/train.py: a process of its own.

python benchmarks/frozen.py '{"photos": "head", "model": "resnet18", "weights": "start.safetensors", ...}'

After torchvision's tutorial on transfer learning ("ConvNet as fixed feature extractor"): the backbone
does not require gradients, the head is new, and every epoch trains on random crops and validates. The best
one counts. The last line is JSON.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader


@dataclass(frozen=True)
class Work:
    """What is to be trained."""

    photos: str
    """Folder with train/ and val/, a folder of pictures for each class in each."""
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
    loaders = {split: _loader(work, split) for split in ("train", "val")}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, head = _model(work, len(loaders["train"].dataset.classes))
    model.to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(head.parameters(), work.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, work.epochs * len(loaders["train"]))
    best = 0.0
    for epoch in range(work.epochs):
        model.train()
        for images, targets in loaders["train"]:
            optimizer.zero_grad()
            loss = criterion(model(images.to(device)), targets.to(device))
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        correct = total = 0
        with torch.no_grad():
            for images, targets in loaders["val"]:
                correct += int((model(images.to(device)).argmax(1).cpu() == targets).sum())
                total += len(targets)
        best = max(best, correct / total)
        print(f"epoch {epoch} loss {loss.item():.3f} accuracy {correct / total:.4f}", flush=True)
    print(json.dumps({"accuracy": best}))


def _loader(work: Work, split: str) -> Any:
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    is_training = split == "train"
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
    dataset = ImageFolder(str(Path(work.photos) / split), transforms.Compose([*crops, *last]))
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
