import pytest
import torch

from lib.errors import RunError
from lib.train.determinism import deterministic


def test_the_switch_is_for_the_block_alone() -> None:
    for is_wanted in (True, False):
        with deterministic(is_wanted):
            assert torch.are_deterministic_algorithms_enabled() == is_wanted
        assert not torch.are_deterministic_algorithms_enabled()


def test_what_has_no_deterministic_algorithm_is_a_sentence() -> None:
    values, positions = torch.zeros(1, 1, 4), torch.zeros(1, 1, 4, dtype=torch.long)
    with (
        pytest.raises(RunError, match="no deterministic algorithm for max_unpool") as caught,
        deterministic(True),
    ):
        torch.nn.functional.max_unpool1d(values, positions, 2)
    assert "leave run.deterministic out" in caught.value.hint
    assert not torch.are_deterministic_algorithms_enabled()


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="size of tensor"), deterministic(True):
        torch.zeros(2) + torch.zeros(3)
