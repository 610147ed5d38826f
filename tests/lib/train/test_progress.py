import pytest

from lib.train.progress import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0s"), (59.4, "59s"), (130, "2m10s"), (11_100, "3h05m"), (3_599.6, "1h00m")]
)
def test_a_time_is_written_as_people_say_it(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_a_line_tells_where_the_run_is() -> None:
    lines: list[str] = []
    progress = Progress(lines.append, epochs=2, steps=10, done_steps=0, interval_s=0)
    progress.step(images=64, wait_s=0.0)
    assert progress.is_due()
    progress.line(epoch=1, step=4, loss=0.25)
    (line,) = lines
    assert line.startswith("epoch 2/2  step 5/10  loss 0.2500  ")
    assert "images/s" in line
    assert line.endswith(" left")


def test_nothing_is_due_at_once() -> None:
    assert not Progress(lambda _: None, epochs=1, steps=1, done_steps=0, interval_s=60).is_due()
