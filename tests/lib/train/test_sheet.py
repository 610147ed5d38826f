import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from lib.config.schema import FinetuneConfig
from lib.data.order import sample_seeds
from lib.images.augment import train_transform
from lib.report.sheet import MAX_BYTES
from lib.train.inputs import Inputs
from lib.train.launch import train
from lib.train.plan import RunPlan, plan_run
from lib.train.sheet import SHEET, read_sheet, write_sheet
from lib.train.world import World

Make = Callable[..., FinetuneConfig]


def cells(plan: RunPlan) -> np.ndarray:
    """Return the sheet of a run as uint8 [rows, columns, 28, 28]."""
    inputs = Inputs(plan, World(threads=1), lambda _: None)
    write_sheet(plan, inputs.order(0))
    sheet = read_sheet(plan)
    assert sheet is not None
    assert len(sheet.png) <= MAX_BYTES
    pixels = np.asarray(Image.open(io.BytesIO(sheet.png)))
    rows, columns = (pixels.shape[0] + 4) // 116, (pixels.shape[1] + 4) // 116
    padded = np.pad(pixels, ((0, 4), (0, 4)))
    return padded.reshape(rows, 116, columns, 116).swapaxes(1, 2)[:, :, :112:4, :112:4]


def test_it_shows_the_pictures_of_the_first_epochs(finetune_config: Make) -> None:
    plan = plan_run(finetune_config(augment__policy="strong"))
    found = cells(plan)
    assert found.shape == (5, 5, 28, 28)
    samples = plan.dataset.samples("train")
    ids, first_seeds = Inputs(plan, World(threads=1), lambda _: None).order(0).batch(0)
    seeds = [first_seeds, *(sample_seeds(ids, 0, epoch) for epoch in range(1, 4))]
    plain, strong = (train_transform(policy, plan.preprocess) for policy in ("none", "strong"))
    for row in range(5):
        data = samples.read(int(ids[row]))
        expected = [plain(data, 0), *(strong(data, drawn[row]) for drawn in seeds)]
        for column, pixels in enumerate(expected):
            assert np.array_equal(found[row, column], pixels[0].numpy())


def test_mixed_pictures_are_shown_beside(finetune_config: Make) -> None:
    plan = plan_run(finetune_config(augment__mix="mixup"))
    found = cells(plan).astype(np.float64)
    assert found.shape == (5, 7, 28, 28)
    for draw in range(2):
        own, mixed = found[:, 1 + draw], found[:, 5 + draw]
        # One weight explains all five pictures: each is blended with the one before it.
        other = np.roll(own, 1, axis=0)
        weight = ((mixed - other) * (own - other)).sum() / ((own - other) ** 2).sum()
        assert 0 < weight < 1
        assert np.abs(weight * own + (1 - weight) * other - mixed).max() <= 1


def test_a_run_writes_it_and_its_report_shows_it(finetune_config: Make) -> None:
    resize = [{"until_epoch": 1, "image_size": 16}]
    changes = {"model__name": "resnet8", "train__resize": resize, "train__batch_size": 512}
    plan = plan_run(finetune_config(**changes, augment__mix="both"))
    train(plan, World(threads=2), lambda _: None)
    with Image.open(plan.folder / "report" / SHEET) as sheet:
        assert sheet.size == (7 * 116 - 4, 5 * 116 - 4)
    page = (plan.folder / "report/index.html").read_text()
    assert "<h2>Augmentation</h2>" in page
    assert "augment.policy=light, drawn 4 times; then" in page
    assert "with augment.mix=both" in page
    assert not (plan.folder / "report").joinpath(f".{SHEET}.partial").exists()


def test_pictures_that_cannot_be_used_are_passed_over(finetune_config: Make, tmp_path: Path) -> None:
    from lib.config.packing import PackConfig
    from lib.data.pack import pack, plan_pack

    root = tmp_path / "small"
    config = PackConfig.model_validate({"source": "digits", "out": str(root)})
    pack(config, plan_pack(config), map)
    plan = plan_run(finetune_config(data__root=str(root)))
    before = cells(plan)
    samples = plan.dataset.samples("train")
    rows = samples.rows(Inputs(plan, World(threads=1), lambda _: None).order(0).batch(0)[0][:1])
    with (root / "train/train-000000.tar").open("r+b") as shard:
        shard.seek(int(rows.offset[0]) + 40)
        shard.write(b"\0\0\0\0")
    after = cells(plan)
    assert np.array_equal(after[:-1], before[1:])


def test_a_run_without_one_says_so(finetune_config: Make) -> None:
    assert read_sheet(plan_run(finetune_config())) is None


def test_it_is_not_written_again_when_a_run_goes_on(finetune_config: Make) -> None:
    changes = {"train__epochs": 2, "train__batch_size": 512}
    plan = plan_run(finetune_config(**changes))
    train(plan, World(threads=2), lambda _: None)
    (plan.folder / "result.json").unlink()
    (plan.folder / "report" / SHEET).unlink()
    train(plan, World(threads=2), lambda _: None)
    assert not (plan.folder / "report" / SHEET).exists()
    assert json.loads((plan.folder / "result.json").read_text())["best_epoch"] in (1, 2)
