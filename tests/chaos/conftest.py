"""The run that is disturbed, and the same one left alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.checks import CHECKPOINT_STEPS, EPOCHS, start_run
from tests.processes import finish_job, kill_all


@pytest.fixture(scope="session")
def words(digits: Path) -> list[str]:
    return [
        f"data.root={digits}",
        "data.threads=1",
        "model.name=resnet8",
        # Slow enough that a run outlasts the seconds in which a Ray notices that its driver is gone.
        "model.image_size=64",
        f"train.epochs={EPOCHS}",
        "train.batch_size=16",
        f"train.checkpoint_every_steps={CHECKPOINT_STEPS}",
        "run.num_workers=2",
        "run.trace=true",
    ]


@pytest.fixture(scope="session")
def straight(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody disturbed."""
    home = tmp_path_factory.mktemp("straight")
    finish_job(start_run([*words, "run.name=run"], home))
    return home / "runs/run"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Where a run of the test writes; nothing of it is left running."""
    yield tmp_path
    kill_all(tmp_path)
