from pathlib import Path

import pytest
import torch

from lib.errors import RunError
from lib.train.state import RunState, load_best, load_state
from lib.train.writer import StateWriter, snapshot
from tests.rooms import no_room


def test_a_state_is_that_of_the_moment_when_it_was_saved(tmp_path: Path) -> None:
    weight = torch.arange(1_000_000.0)
    writer = StateWriter(tmp_path)
    state = RunState(epoch=1, model={"w": weight}, history=[{"epoch": 1}])
    writer.save(state)
    weight += 1
    state.epoch = 2
    state.history.append({"epoch": 2})
    writer.wait()
    found = load_state(tmp_path)
    assert found is not None
    assert (found.epoch, found.history) == (1, [{"epoch": 1}])
    assert torch.equal(found.model["w"], torch.arange(1_000_000.0))


def test_the_best_weights_go_with_the_state_that_names_them(tmp_path: Path) -> None:
    writer = StateWriter(tmp_path)
    for epoch in (1, 2):
        writer.save_best(epoch, {"w": torch.tensor(float(epoch))})
        writer.save(RunState(epoch=epoch, best_epoch=epoch))
    writer.save(RunState(epoch=3, best_epoch=2))
    writer.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-0002.pt", "last.pt"]
    assert load_best(tmp_path, 2)["w"] == 2


@pytest.mark.parametrize("call", ["save", "wait"])
def test_what_fails_in_the_thread_is_raised_by_the_next_call(tmp_path: Path, call: str) -> None:
    writer = StateWriter(tmp_path)
    with no_room(beyond_bytes=500):
        writer.save(RunState(epoch=1))
        with pytest.raises(RunError, match="File too large"):
            writer.save(RunState(epoch=2)) if call == "save" else writer.wait()
    writer.save(RunState(epoch=2))  # there is room again
    writer.wait()
    found = load_state(tmp_path)
    assert found is not None
    assert found.epoch == 2


def test_a_snapshot_shares_nothing_that_changes() -> None:
    weight = torch.zeros(2)
    value = {"a": [weight, (weight, 3)], "b": "text"}
    copy = snapshot(value)
    weight += 1
    assert copy["a"][0].tolist() == copy["a"][1][0].tolist() == [0, 0]
    assert (copy["a"][1][1], copy["b"]) == (3, "text")
