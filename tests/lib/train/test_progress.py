import pytest

from lib.config.training import TrainSection
from lib.train.progress import Progress
from lib.train.stages import Stage, build_stages


def stages(resize: list[dict[str, int]]) -> tuple[Stage, ...]:
    train = TrainSection.model_validate({"epochs": 2, "batch_size": 64, "resize": resize})
    return build_stages(train, image_size=32, num_samples=640)


def test_a_line_tells_where_the_run_is() -> None:
    lines: list[str] = []
    progress = Progress(lines.append, stages([]), epoch=0, step=0, interval_s=0)
    progress.step(images=64, wait_s=0.0)
    assert progress.is_due()
    progress.line(epoch=1, step=4, loss=0.25)
    (line,) = lines
    assert line.startswith("epoch 2/2  step 5/10  loss 0.2500  ")
    assert "images/s" in line
    assert line.endswith(" left")


def test_the_time_left_is_by_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 110.0, 110.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    lines: list[str] = []
    resize = [{"until_epoch": 1, "image_size": 16, "batch_size": 128}]
    progress = Progress(lines.append, stages(resize), epoch=0, step=0)
    progress.step(images=640, wait_s=1.0)
    progress.line(epoch=0, step=4, loss=0.25)  # the last of five: a fifth of all pixels, in 10 s
    assert lines == ["epoch 1/2  step 5/5  loss 0.2500  64 images/s  data wait 10%  40s left"]


def test_nothing_is_due_at_once() -> None:
    assert not Progress(lambda _: None, stages([]), epoch=0, step=0, interval_s=60).is_due()
