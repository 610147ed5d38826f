from pathlib import Path

import pytest
import torch

from lib.errors import RunError, UserError
from lib.train.state import RunState, forget_worse, load_best, load_state, save_best, save_state
from tests.rooms import no_room


def test_no_state_is_none(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None


def test_state_comes_back_equal(tmp_path: Path) -> None:
    state = RunState(epoch=2, step=7, model={"w": torch.arange(3.0)}, sums=[1.5, 2, 3], best_epoch=1)
    save_state(tmp_path / "state", state)
    found = load_state(tmp_path / "state")
    assert found is not None
    assert (found.epoch, found.step, found.sums, found.best_epoch) == (2, 7, [1.5, 2, 3], 1)
    assert torch.equal(found.model["w"], state.model["w"])


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    save_state(tmp_path, RunState())
    (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be read"):
        load_state(tmp_path)


def test_a_state_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 1, "model": Path}, tmp_path / "last.pt")
    with pytest.raises(UserError, match="cannot be read"):
        load_state(tmp_path)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 99}, tmp_path / "last.pt")
    with pytest.raises(UserError, match="format 99"):
        load_state(tmp_path)


def test_a_failed_write_keeps_the_last_state(tmp_path: Path) -> None:
    save_state(tmp_path, RunState(epoch=1))
    (tmp_path / "last.partial").mkdir()  # where the next state would be written
    with pytest.raises(RunError, match="cannot write"):
        save_state(tmp_path, RunState(epoch=2))
    found = load_state(tmp_path)
    assert found is not None
    assert found.epoch == 1


def test_a_worker_that_was_taken_for_dead_does_not_damage_the_state_of_its_successor(tmp_path: Path) -> None:
    with (tmp_path / "last.partial").open("wb") as stream:
        save_state(tmp_path, RunState(epoch=2))
        stream.write(b"what it was about to write")
    found = load_state(tmp_path)
    assert found is not None
    assert found.epoch == 2


def test_a_full_disk_keeps_the_last_state_and_leaves_no_half(tmp_path: Path) -> None:
    folder = tmp_path / "photos/state"
    save_state(folder, RunState(epoch=1))
    with no_room(beyond_bytes=100_000), pytest.raises(RunError, match="File too large") as caught:
        save_state(folder, RunState(epoch=2, model={"w": torch.zeros(100_000)}))
    assert caught.value.hint.endswith("run.resume=photos")
    assert [path.name for path in folder.iterdir()] == ["last.pt"]
    found = load_state(folder)
    assert found is not None
    assert found.epoch == 1


def test_only_the_best_weights_are_kept(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        save_best(tmp_path, epoch, {"w": torch.tensor(float(epoch))})
    forget_worse(tmp_path, 2)
    assert [path.name for path in tmp_path.glob("best-*")] == ["best-0002.pt"]
    assert load_best(tmp_path, 2)["w"] == 2
