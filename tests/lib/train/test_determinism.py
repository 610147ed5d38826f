import pytest
import torch

from lib.errors import RunError
from lib.train.determinism import prepare, told


def test_what_has_no_deterministic_algorithm_is_a_sentence() -> None:
    prepare(True)
    try:
        values = torch.zeros(4, requires_grad=True)
        with pytest.raises(RunError, match="no deterministic algorithm for") as caught, told():
            torch.nn.functional.max_unpool1d(values.view(1, 1, 4), torch.zeros(1, 1, 4, dtype=torch.long), 2)
        assert "leave run.deterministic out" in caught.value.hint
    finally:
        prepare(False)
    assert not torch.are_deterministic_algorithms_enabled()


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="size of tensor"), told():
        torch.zeros(2) + torch.zeros(3)
