import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lib.config.schema import FinetuneConfig
from lib.data.quarantine import Quarantine
from lib.errors import RunError, UserError
from lib.track.scrape import Snapshot, snapshot
from lib.track.training_metrics import TRAINING
from lib.train.failures import outcome_of
from lib.train.launch import train
from lib.train.plan import RunPlan, plan_run
from lib.train.signals import StoppedError
from lib.train.telemetry import open_telemetry
from lib.train.world import News, World
from lib.train.writer import StateWriter

Make = Callable[..., FinetuneConfig]
SMALL = {"data__train_images": 300, "train__batch_size": 32}


def left(folder: Path) -> Snapshot:
    """Return what a run without Ray has left for Prometheus."""
    return snapshot([(folder / "manta-train.prom").read_text()], at=0)


@pytest.fixture
def plan(finetune_config: Make, tmp_path: Path) -> RunPlan:
    changes = {"train__epochs": 2, "track__prometheus": str(tmp_path / "metrics")}
    return plan_run(finetune_config(**SMALL, **changes))


def test_a_finished_run_has_counted_every_step_and_image(plan: RunPlan, tmp_path: Path) -> None:
    before = time.time()
    train(plan, World(threads=2), lambda _: None)
    found = left(tmp_path / "metrics")
    assert found.total("train_steps_total", run="run") == 2 * plan.stage(0).steps == 20
    assert found.total("train_images_total") == 600
    assert found.total("train_step_seconds_count") == 20
    assert 0 < found.total("train_data_wait_seconds_total") < found.total("train_seconds_total")
    assert found.total("train_step_seconds_sum") == pytest.approx(found.total("train_seconds_total"))
    last = json.loads((plan.folder / "metrics.jsonl").read_text().splitlines()[-1])
    for split in ("train", "val"):
        assert found.total("train_loss", split=split) == last[split]["loss"]
        assert found.total("train_accuracy", split=split) == last[split]["accuracy"]
    told = ("epoch", "epochs", "workers", "restarts", "running", "measuring", "bad_samples")
    assert [found.total(f"train_{name}") for name in told] == [2, 2, 1, 0, 0, 0, 0]
    assert found.total("train_learning_rate") == last["lr"]
    assert found.total("train_peak_memory_bytes") == pytest.approx(last["memory_mb"] * 1e6)
    assert found.total("train_last_state_timestamp_seconds") > before
    assert found.total("train_last_step_timestamp_seconds") > before
    assert found.total("train_ends_total", outcome="finished") == 1


def test_a_line_of_progress_tells_the_rest(
    plan: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lib.train.progress.Progress.is_due", lambda _: True)
    train(plan, World(threads=2), lambda _: None)
    found = left(tmp_path / "metrics")
    assert found.total("train_gradient_norm") > 0
    assert found.of("train_time_left_seconds")
    names = {name.removesuffix("_total") for name in found.series}
    assert names >= {name for name in TRAINING if name != "train_step_seconds"}


def test_live_figures_are_those_since_the_last_line(plan: RunPlan, tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([{"params": [parameter], "lr": 0.5, "lr_scale": 5.0}])
    with open_telemetry(plan, World(), print) as telemetry:
        telemetry.watch(optimizer, StateWriter(plan.state_folder), Quarantine({}, 0.0))
        telemetry.begin([100.0, 40.0, 80.0])
        telemetry.live(0.25, torch.tensor([110.0, 45.0, 90.0]), torch.tensor(7.0), left_s=60)
        telemetry.live(0.5, torch.tensor([130.0, 60.0, 110.0]), torch.tensor(8.0), left_s=40)
    found = left(tmp_path / "metrics")
    assert found.total("train_loss", split="train") == pytest.approx(20 / 20)
    assert found.total("train_accuracy", split="train") == pytest.approx(15 / 20)
    told = ("epoch", "gradient_norm", "time_left_seconds", "learning_rate")
    assert [found.total(f"train_{name}") for name in told] == [0.5, 8, 40, pytest.approx(0.1)]


def test_starts_after_the_first_are_restarts(plan: RunPlan, tmp_path: Path) -> None:
    stops = World(threads=2, news=lambda: News.STOP)
    with pytest.raises(StoppedError):
        train(plan, stops, lambda _: None)
    found = left(tmp_path / "metrics")
    steps = found.total("train_steps_total")
    assert 0 < steps < 20
    assert found.total("train_ends_total", outcome="stopped") == 1
    train(plan, World(threads=2), lambda _: None)
    found = left(tmp_path / "metrics")
    assert found.total("train_restarts") == 1
    assert found.total("train_steps_total") == 20 - steps


def test_a_loss_that_is_no_number_is_told(finetune_config: Make, tmp_path: Path) -> None:
    optim = {"optim__name": "sgd", "optim__lr": 1e12, "optim__schedule": "constant"}
    plan = plan_run(finetune_config(**SMALL, **optim, track__prometheus=str(tmp_path / "metrics")))
    with pytest.raises(RunError):
        train(plan, World(threads=2), lambda _: None)
    found = left(tmp_path / "metrics")
    assert found.total("train_ends_total", outcome="diverged") == 1
    assert found.total("train_loss", split="train") != found.total("train_loss", split="train")
    assert found.total("train_running") == 0


def test_trials_are_counted_as_their_study(plan: RunPlan, tmp_path: Path) -> None:
    with open_telemetry(replace(plan, counted_as="search"), World(), print):
        pass
    assert left(tmp_path / "metrics").values("run") == ["search"]


@pytest.mark.parametrize("changes", [{"track__metrics": False}, {"track__prometheus": None}])
def test_nothing_is_told_where_nobody_asked(
    finetune_config: Make, tmp_path: Path, changes: dict[str, object]
) -> None:
    changes = {"track__prometheus": str(tmp_path / "metrics"), **changes}
    train(plan_run(finetune_config(**SMALL, **changes)), World(threads=2), lambda _: None)
    assert not (tmp_path / "metrics").exists()


def test_other_workers_are_silent(plan: RunPlan, tmp_path: Path) -> None:
    with open_telemetry(plan, World(rank=1, size=2), print) as telemetry:
        telemetry.step(32, 0.1)
    assert not (tmp_path / "metrics").exists()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "finished"),
        (StoppedError("run", 1, 2), "stopped"),
        (SystemExit(143), "stopped"),
        (KeyboardInterrupt(), "stopped"),
        (UserError("no"), "failed"),
        (RuntimeError("a peer is gone"), "crashed"),
    ],
)
def test_an_end_has_a_name(error: BaseException | None, outcome: str) -> None:
    assert outcome_of(error) == outcome
