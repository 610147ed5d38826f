import json
import time
from pathlib import Path

import pytest
import torch

from lib.models.build import build_model
from lib.track.scrape import scrape, snapshot
from tests.jobs.conftest import Run

QUICK = ["model.name=lenet5", "train.epochs=1", "train.batch_size=128", "run.num_workers=0", "data.threads=2"]


def test_a_dry_run_starts_nothing(job: Run, digits: Path, tmp_path: Path) -> None:
    ended = job("finetune", f"data.root={digits}", *QUICK, "--dry-run")
    assert ended.code == 0
    assert "epochs: 1" in ended.out
    assert "44,426 parameters" in ended.out
    assert "MB per worker" in ended.out
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_shows_what_learns_when_and_at_which_rate(job: Run, digits: Path) -> None:
    words = ["model.name=resnet8", "train.freeze=gradual", "optim.layer_decay=0.5", "optim.head_lr=0.02"]
    ended = job("finetune", f"data.root={digits}", *QUICK, *words, "train.epochs=8", "--dry-run")
    assert "fc                650  trained, lr 0.02" in ended.out
    assert "layer3.0       55,552  trained from epoch 3, lr 0.0005" in ended.out
    assert "stem              176  trained from epoch 7, lr 6.25e-05" in ended.out
    refused = job("finetune", f"data.root={digits}", *QUICK, "optim.layer_factors=[0.5, 1]", "--dry-run")
    assert refused.code == 2
    assert "optim.layer_factors: 2 factors; lenet5 has 5 depth groups" in refused.err


def test_networks_are_listed(job: Run) -> None:
    ended = job("finetune", "--list-models", "lenet5", "resnet1?")
    assert ended.code == 0
    assert [line.split()[0] for line in ended.out.splitlines()[1:4]] == ["lenet5", "resnet14", "resnet18"]
    refused = job("finetune", "--list-models", "resnet81")
    assert refused.code == 2
    assert "did you mean" in refused.err


def test_a_dry_run_packs_nothing(job: Run, tmp_path: Path) -> None:
    ended = job("finetune", "data.root=sets/digits", "data.source=digits", *QUICK, "--dry-run")
    assert ended.code == 0
    assert "1,797 images" in ended.out
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_is_found_before_anything_is_packed(job: Run, tmp_path: Path) -> None:
    words = ["data.root=sets/digits", "data.source=digits", *QUICK, "model.name=resnet81"]
    assert job("finetune", *words).code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_run_leaves_what_the_contract_names(job: Run, digits: Path, tmp_path: Path) -> None:
    ended = job("finetune", f"data.root={digits}", *QUICK, "run.name=x")
    assert ended.code == 0, ended.err
    run = tmp_path / "runs/x"
    assert ended.out.endswith(f"python -m serving bundle={run / 'bundle'}\n")
    names = {path.name for path in run.iterdir()} - {".lock"}
    assert names == {"bundle", "config.yaml", "metrics.jsonl", "report", "result.json", "state"}
    result = json.loads((run / "result.json").read_text())
    assert result["bundle"] == str(run / "bundle")
    keys = {"num_samples", "accuracy", "top5_accuracy", "loss", "ece", "balanced_accuracy"}
    assert all(set(metrics) == keys for metrics in result["metrics"].values())
    assert set(result["metrics"]) == {"val", "test"}

    again = job("finetune", f"data.root={digits}", *QUICK, "run.name=x")
    assert again.code == 2
    assert "run.resume=x" in again.err
    resumed = job("finetune", "run.resume=x")
    assert resumed.code == 0
    assert "run x is finished" in resumed.out


def test_a_job_says_all_in_json_and_leaves_its_figures(
    job: Run, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANTA_LOG", "json")
    words = [f"data.root={digits}", *QUICK, "run.name=x", f"track.prometheus={tmp_path / 'metrics'}"]
    ended = job("finetune", *words)
    assert ended.code == 0, ended.err
    records = [json.loads(line) for line in ended.out.splitlines()]
    assert all({"time", "level", "message"} <= set(record) for record in records)
    assert [record["run"] for record in records if "epoch 1/1 done" in record["message"]] == ["x"]
    result = json.loads((tmp_path / "runs/x/result.json").read_text())
    assert (records[-1]["message"], records[-1]["result"]["bundle"]) == (
        "run x is finished",
        result["bundle"],
    )
    pages = [path.read_text() for path in (tmp_path / "metrics").iterdir()]
    found = snapshot(pages, at=0)
    assert len(pages) == 2
    assert found.total("job_accuracy", task="finetune", split="test") == result["metrics"]["test"]["accuracy"]
    assert found.total("job_images", subject="x") == 179 + 179
    assert found.total("job_success", subject="x") == found.total("train_ends_total", run="x") == 1


def test_more_epochs_can_be_added_to_a_stopped_run(job: Run, digits: Path, tmp_path: Path) -> None:
    assert job("finetune", f"data.root={digits}", *QUICK, "run.name=x").code == 0
    refused = job("finetune", "run.resume=x", "train.epochs=2")
    assert refused.code == 2
    assert "the run x has finished, with train.epochs=1" in refused.err
    (tmp_path / "runs/x/result.json").unlink()  # as if it had stopped before the end
    ended = job("finetune", "run.resume=x", "train.epochs=2")
    assert ended.code == 0, ended.err
    assert "going on from epoch 2, step 0" in ended.out
    epochs = (tmp_path / "runs/x/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in epochs] == [1, 2]


def test_a_source_is_packed_when_the_dataset_does_not_exist(job: Run, tmp_path: Path) -> None:
    words = ["data.root=sets/digits", "data.source=digits", *QUICK, "run.name=x"]
    ended = job("finetune", *words)
    assert ended.code == 0, ended.err
    assert "packing digits: 1,797 images" in ended.out
    assert (tmp_path / "sets/digits/dataset.json").exists()


def test_every_mistake_is_reported_at_once(job: Run, digits: Path) -> None:
    ended = job(
        "finetune", f"data.root={digits}", "train.epoch=3", "optim.lr=-1", "train.freeze=heads", "lr=1"
    )
    assert ended.code == 2
    assert "4 mistakes" in ended.err
    for told in ("train.epochs", "optim.lr", "head", "lr=1"):
        assert told in ended.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["model.name=resnet81"], "resnet18"),
        (["model.weights=nowhere.pth"], "nowhere.pth"),
        (["model.weights=other.pth"], "lenet5"),
        (["data.root=nowhere"], "pack one"),
        (["run.num_workers=5000", "train.batch_size=6000"], "fewer than run.num_workers=5000"),
        (["run.resume=lost"], "there is no such run"),
        (["train.batch_size=1", "run.num_workers=2"], "each worker needs an image per step"),
        (["run.use_gpu=true"], "no GPU"),
        (["run.storage=s3://bucket/runs"], "only datasets are read from a URI"),
        (["run.storage=other.pth"], "cannot create the folder"),
        (["optim.warmup_epochs=3"], "leaves nothing"),
    ],
)
def test_what_cannot_run_is_a_sentence(
    job: Run, digits: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    torch.save(build_model("resnet8", 10, channels=1, image_size=32).state_dict(), tmp_path / "other.pth")
    ended = job("finetune", f"data.root={digits}", *QUICK, "run.name=x", *words)
    assert ended.code == 2
    assert sentence in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "runs/x").exists()


def test_a_lost_shard_ends_the_run_with_a_sentence(job: Run, tmp_path: Path) -> None:
    assert job("pack", "source=digits", "out=dataset").code == 0
    (tmp_path / "dataset/train/train-000000.tar").unlink()
    ended = job("finetune", "data.root=dataset", *QUICK, "run.name=x")
    assert ended.code == 1
    assert "cannot read the shard" in ended.err


def check_metrics(job: Run, counts: dict[str, int]) -> None:
    """Hold what the node exports of the run `two`, whose workers have just ended, against what it did."""
    import ray

    (node,) = ray.nodes()
    address = f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}"
    until = time.monotonic() + 30
    while not (found := scrape([address])).of("train_ends_total", run="two"):
        assert time.monotonic() < until, "a worker tells how it ended before it is gone"
        time.sleep(0.1)
    assert found.total("train_ends_total", run="two", outcome="finished") == 1
    assert {name: found.total(f"train_{name}_total", run="two") for name in counts} == counts
    assert found.total("train_step_seconds_count", run="two") == counts["steps"]
    told = ("running", "workers", "restarts", "epoch", "epochs")
    assert [found.total(f"train_{name}", run="two") for name in told] == [0, 2, 0, 2, 2]
    shown = job("status", f"metrics=[{address}]", "seconds=1")
    assert shown.code == 0, shown.err
    (row,) = [line.split() for line in shown.out.splitlines() if line.startswith("  two ")]
    assert row[:3] == ["two", "ended", "2.00/2"]


@pytest.mark.integration
def test_two_workers_train_on_ray(job: Run, digits: Path, tmp_path: Path, ray_session: None) -> None:
    words = [f"data.root={digits}", "model.name=lenet5", "train.epochs=2", "optim.lr=0.003"]
    ended = job(
        "finetune", *words, "train.batch_size=50", "run.num_workers=2", "run.name=two", "data.threads=1"
    )
    assert ended.code == 0, ended.err
    assert "starting 2 workers" in ended.out
    assert "epoch 2/2 done" in ended.out
    check_metrics(job, {"steps": 2 * 29, "images": 2 * 1439})
    alone = job(
        "finetune", *words, "train.batch_size=50", "run.num_workers=0", "run.name=one", "data.threads=1"
    )
    assert alone.code == 0, alone.err
    histories = [
        [json.loads(line) for line in (tmp_path / f"runs/{name}/metrics.jsonl").read_text().splitlines()]
        for name in ("two", "one")
    ]
    # LeNet-5 has no batch statistics and no dropout: the number of workers changes rounding alone.
    for two, one in zip(*histories, strict=True):
        assert two["train"]["num_samples"] == one["train"]["num_samples"] == 1439
        assert two["train"]["loss"] == pytest.approx(one["train"]["loss"], rel=2e-3)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run.use_gpu=true"], "the cluster has 0"),
        (["run.num_workers=72", "train.batch_size=72"], "72 workers would share batches of 71 images"),
    ],
)
def test_what_cannot_be_placed_leaves_no_folder(
    job: Run, digits: Path, tmp_path: Path, ray_session: None, words: list[str], sentence: str
) -> None:
    ended = job("finetune", f"data.root={digits}", *QUICK, "run.num_workers=1", "run.name=x", *words)
    assert ended.code == 2
    assert sentence in ended.err
    assert not (tmp_path / "runs/x").exists()


@pytest.mark.integration
def test_a_failure_on_ray_is_one_sentence(job: Run, tmp_path: Path, ray_session: None) -> None:
    assert job("pack", "source=digits", "out=dataset").code == 0
    (tmp_path / "dataset/train/train-000000.tar").unlink()
    ended = job("finetune", "data.root=dataset", *QUICK, "run.num_workers=2", "run.name=x")
    assert ended.code == 1
    assert ended.err.startswith("error: cannot read the shard")
    assert "Traceback" not in ended.err
