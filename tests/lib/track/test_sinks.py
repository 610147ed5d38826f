import importlib.util
import json
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from lib.config.fields import flat
from lib.config.schema import FinetuneConfig
from lib.config.tracking import TrackSection
from lib.errors import UserError
from lib.track import tracker
from lib.track.sinks import _SINKS, check_libraries, open_sinks
from lib.track.tracker import Tracker

HISTORY = [{"epoch": epoch, "step": epoch * 5, "train": {"loss": 1 / epoch}} for epoch in (1, 2)]
NOTHING: dict[str, bool | str | None] = {"tensorboard": False, "mlflow": None, "wandb": None}
SETTINGS = {"optim.lr": 0.1, "data.root": "x" * 900}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for all there is: some libraries take seconds to begin."""
    monkeypatch.setattr(tracker, "_FAILED_WAIT_S", 100.0)
    monkeypatch.setattr(tracker, "_LAST_WAIT_S", 100.0)


def track(folder: Path, **asked: bool | str) -> list[str]:
    """Track two epochs, the second after a restart; return what was said."""
    said: list[str] = []
    for end, final in ((1, None), (2, {"test": {"accuracy": 0.75}})):
        sinks = open_sinks({**NOTHING, **asked}, folder=folder, settings=SETTINGS)
        tracked = Tracker(sinks, folder / "track.json", said.append)
        tracked.update(HISTORY[:end])
        tracked.close(final)
    return said


def events(folder: Path) -> list[Event]:
    found = []
    for path in sorted(folder.glob("events.*")):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return found


def test_the_trackers_are_those_of_the_configuration() -> None:
    assert set(_SINKS) == set(TrackSection.model_fields) - {"metrics", "prometheus"}
    config = FinetuneConfig.model_validate({"data": {"root": "x"}})
    assert open_sinks(config.track.model_dump(), folder=Path("x"), settings=flat(config)) == []


def test_tensorboard_reads_what_was_tracked(tmp_path: Path) -> None:
    assert track(tmp_path, tensorboard=True) == []
    scalars = [
        (event.step, value.tag, value.simple_value)
        for event in events(tmp_path / "tensorboard")
        for value in event.summary.value
        if value.HasField("simple_value")
    ]
    assert [row for row in scalars if row[1] != "epoch"] == [
        (5, "train/loss", 1.0),
        (10, "train/loss", 0.5),
        (10, "final/test/accuracy", 0.75),
    ]
    texts = [
        v.tensor.string_val[0].decode()
        for e in events(tmp_path / "tensorboard")
        for v in e.summary.value
        if v.tag.startswith("config")
    ]
    assert len(texts) == 1
    assert "optim.lr: 0.1" in texts[0]


@pytest.mark.filterwarnings("ignore:The ``noload`` loader")
def test_mlflow_keeps_what_was_tracked(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    (tmp_path / "run").mkdir()
    assert track(tmp_path / "run", mlflow=uri) == []
    client = mlflow.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("manta").experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params["optim.lr"] == "0.1"
    losses = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in losses] == [(5, 1.0), (10, 0.5)]
    assert run.data.metrics["final/test/accuracy"] == 0.75


def test_wandb_writes_what_was_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracked = Tracker(
        open_sinks({**NOTHING, "wandb": "manta"}, folder=tmp_path, settings=SETTINGS),
        tmp_path / "track.json",
        print,
    )
    tracked.update(HISTORY)
    tracked.close({"test": {"accuracy": 0.75}})
    (written,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert b"train/loss" in written.read_bytes()
    assert b"final/test/accuracy" in written.read_bytes()
    assert written.stem == "run-" + json.loads((tmp_path / "track.json").read_text())["wandb"]["run"]


@pytest.mark.parametrize(("name", "value"), [("mlflow", "http://127.0.0.1:1"), ("wandb", "manta")])
def test_a_missing_library_is_a_sentence(name: str, value: str) -> None:
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    with pytest.raises(UserError, match=f"track.{name} needs {name}, which is not installed") as caught:
        check_libraries({**NOTHING, name: value})
    assert "pip install" in caught.value.hint
