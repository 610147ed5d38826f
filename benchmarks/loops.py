"""Training loops as their libraries show them, for benchmarks/train.py: each started as a process of its own.

python benchmarks/loops.py lightning '{"data": "photos/train", "model": "resnet18", ...}'

All do the same work: SGD with momentum, RandomResizedCrop, flip, normalise, a checkpoint after each epoch.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from clock import start_clock
from torch import nn
from torch.utils.data import DataLoader

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}


@dataclass(frozen=True)
class Work:
    """What a loop has to do."""

    data: str
    """Folder with a folder of pictures for each class."""
    out: str
    """Folder for whatever the loop writes."""
    model: str
    image_size: int
    batch_size: int
    epochs: int
    workers: int
    """Processes that load."""


def plain(work: Work) -> None:
    """The loop of torch's tutorials, for torchrun: ImageFolder, DataLoader, DistributedDataParallel."""
    from torchvision.datasets import ImageFolder

    device = _join()
    dataset = ImageFolder(work.data, _transform(work))
    sampler: Any = torch.utils.data.DistributedSampler(dataset)
    loader = DataLoader(dataset, work.batch_size, sampler=sampler, num_workers=work.workers)
    model = nn.parallel.DistributedDataParallel(_model(work, len(dataset.classes)).to(device))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), **SGD)
    for epoch in range(work.epochs):
        sampler.set_epoch(epoch)
        model.train()
        for images, targets in loader:
            images, targets = images.to(device), targets.to(device)
            optimizer.zero_grad()
            loss = criterion(model(images), targets)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.3f}")
        torch.save(model.module.state_dict(), f"{work.out}/model_{epoch}.pth")
    torch.distributed.destroy_process_group()


def reference(work: Work) -> None:
    """The style of torchvision's references/classification/train.py, with its defaults, for torchrun."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transform = v2.Compose(
        [
            v2.RandomResizedCrop(work.image_size, antialias=True),
            v2.RandomHorizontalFlip(0.5),
            v2.PILToTensor(),
            v2.ToDtype(torch.float, scale=True),
            v2.Normalize(MEAN, STD),
            v2.ToPureTensor(),
        ]
    )
    device = _join()
    dataset = ImageFolder(work.data, transform)
    sampler: Any = torch.utils.data.DistributedSampler(dataset)
    loader = DataLoader(
        dataset,
        work.batch_size,
        sampler=sampler,
        num_workers=work.workers,
        pin_memory=torch.cuda.is_available(),
    )
    without_ddp = _model(work, len(dataset.classes)).to(device)
    model = nn.parallel.DistributedDataParallel(without_ddp)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.0)
    optimizer = torch.optim.SGD(model.parameters(), **SGD)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=30, gamma=0.1)
    meters: dict[str, list[float]] = {"loss": [], "acc1": [], "acc5": []}
    for epoch in range(work.epochs):
        sampler.set_epoch(epoch)
        model.train()
        for number, (images, targets) in enumerate(loader):
            images, targets = images.to(device), targets.to(device)
            output = model(images)
            loss = criterion(output, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.inference_mode():
                _, found = output.topk(5, 1)
                correct = found.t().eq(targets[None])
                for name, count in (("acc1", 1), ("acc5", 5)):
                    meters[name].append(correct[:count].flatten().sum().item() * 100 / len(targets))
            meters["loss"].append(loss.item())
            if number % 10 == 0:
                print(epoch, number, {name: sum(values) / len(values) for name, values in meters.items()})
        scheduler.step()
        checkpoint = {
            "model": without_ddp.state_dict(),
            "optimizer": optimizer.state_dict(),
            "lr_scheduler": scheduler.state_dict(),
            "epoch": epoch,
        }
        torch.save(checkpoint, f"{work.out}/checkpoint.pth")
    torch.distributed.destroy_process_group()


def lightning(work: Work) -> None:
    """A LightningModule and a Trainer with its defaults."""
    import lightning
    from torchvision.datasets import ImageFolder

    class Classifier(lightning.LightningModule):  # type: ignore[misc]  # need not be installed
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.model = _model(work, num_classes)

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            images, targets = batch
            loss = nn.functional.cross_entropy(self.model(images), targets)
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), **SGD)

    dataset = ImageFolder(work.data, _transform(work))
    loader = DataLoader(dataset, work.batch_size, shuffle=True, num_workers=work.workers)
    trainer = lightning.Trainer(max_epochs=work.epochs, default_root_dir=work.out)
    trainer.fit(Classifier(len(dataset.classes)), loader)


def ray_example(work: Work) -> None:
    """TorchTrainer as Ray's guide to it shows, but one worker with all cores: Ray's default is one core."""
    import loops  # this file: what is pickled from __main__ takes all that it names along
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    ray.init("local")
    gpu = torch.cuda.is_available()
    cores = len(os.sched_getaffinity(0))
    scaling = ScalingConfig(num_workers=1, use_gpu=gpu, resources_per_worker={"CPU": cores, "GPU": int(gpu)})
    run_config = RunConfig(storage_path=str(Path(work.out).absolute()), name="ray")
    TorchTrainer(
        loops.ray_worker, train_loop_config=asdict(work), scaling_config=scaling, run_config=run_config
    ).fit()


def ray_worker(config: dict[str, Any]) -> None:
    import tempfile

    import ray.train
    import ray.train.torch
    from torchvision.datasets import ImageFolder

    start_clock()
    work = Work(**config)
    dataset = ImageFolder(work.data, _transform(work))
    model = ray.train.torch.prepare_model(_model(work, len(dataset.classes)))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), **SGD)
    loader = ray.train.torch.prepare_data_loader(
        DataLoader(dataset, work.batch_size, shuffle=True, num_workers=work.workers)
    )
    for epoch in range(work.epochs):
        if ray.train.get_context().get_world_size() > 1:
            loader.sampler.set_epoch(epoch)
        for images, targets in loader:
            loss = criterion(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with tempfile.TemporaryDirectory() as folder:
            torch.save(model.state_dict(), os.path.join(folder, "model.pt"))
            metrics = {"loss": loss.item(), "epoch": epoch}
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _transform(work: Work) -> Any:
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.RandomResizedCrop(work.image_size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def _join() -> torch.device:
    """Join the processes of torchrun; return the device of this one."""
    gpu = torch.cuda.is_available()
    torch.distributed.init_process_group("nccl" if gpu else "gloo")
    if not gpu:
        return torch.device("cpu")
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return torch.device("cuda")


def _model(work: Work, num_classes: int) -> nn.Module:
    import torchvision

    model: nn.Module = torchvision.models.get_model(work.model, weights=None, num_classes=num_classes)
    return model


LOOPS: dict[str, Callable[[Work], None]] = {
    "plain": plain,
    "reference": reference,
    "lightning": lightning,
    "ray_example": ray_example,
}


if __name__ == "__main__":
    start_clock()
    LOOPS[sys.argv[1]](Work(**json.loads(sys.argv[2])))
