from pathlib import Path

from lib.train.trace import TraceWriter, next_attempt, read_attempts, read_trace


def _write(folder: Path, steps: dict[tuple[int, int], list[list[str]]], workers: int) -> None:
    """Write an attempt in which each step was finished by as many workers as it has lists."""
    attempt = next_attempt(folder)
    for rank in range(workers):
        writer = TraceWriter(folder, attempt, rank, workers)
        for (epoch, step), keys in steps.items():
            if rank < len(keys):
                writer.write(epoch, step, keys[rank])


def test_workers_are_put_together_in_their_order(tmp_path: Path) -> None:
    steps = {(0, 0): [[f"{rank}a", f"{rank}b"] for rank in range(11)], (0, 1): [["x"]] + [[]] * 10}
    _write(tmp_path / "trace", steps, workers=11)
    expected = [key for rank in range(11) for key in (f"{rank}a", f"{rank}b")]
    assert read_trace(tmp_path / "trace") == {(0, 0): expected, (0, 1): ["x"]}


def test_the_last_attempt_that_finished_a_step_counts(tmp_path: Path) -> None:
    _write(tmp_path, {(0, 0): [["a"], ["b"]], (0, 1): [["c"], ["d"]], (0, 2): [["e"]]}, workers=2)
    _write(tmp_path, {(0, 1): [["c", "d"]]}, workers=1)
    _write(tmp_path, {(0, 2): [["e"], ["f"]], (0, 1): [["lost"]]}, workers=2)
    assert read_trace(tmp_path) == {(0, 0): ["a", "b"], (0, 1): ["c", "d"], (0, 2): ["e", "f"]}
    attempts = [{(0, 0): ["a", "b"], (0, 1): ["c", "d"]}, {(0, 1): ["c", "d"]}, {(0, 2): ["e", "f"]}]
    assert read_attempts(tmp_path) == attempts
    assert next_attempt(tmp_path) == 4


def test_a_line_cut_by_a_kill_is_left_out(tmp_path: Path) -> None:
    _write(tmp_path, {(0, 0): [["a"]], (0, 1): [["b"]]}, workers=1)
    path = tmp_path / "0001-rank0.jsonl"
    path.write_text(path.read_text()[:-5])
    assert read_trace(tmp_path) == {(0, 0): ["a"]}


def test_no_trace_is_empty(tmp_path: Path) -> None:
    assert read_trace(tmp_path / "none") == {}
    assert next_attempt(tmp_path / "none") == 1
