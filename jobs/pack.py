"""Pack labelled images into WebDataset shards with an index; check a dataset that is packed.

python jobs/pack.py source=imagefolder:photos out=runs/datasets/photos
python jobs/pack.py source=csv:labels.csv csv.label_column=species out=runs/datasets/birds resize=256
python jobs/pack.py 'source=shards:imagenet-train-{000000..000146}.tar' out=runs/datasets/imagenet
python jobs/pack.py check runs/datasets/photos
"""

import sys
from pathlib import Path

from lib.config.load import load, show_plan
from lib.config.packing import CheckConfig, PackConfig
from lib.config.words import with_key
from lib.console import block, run_job, say
from lib.errors import RunError
from lib.track.job import reported


def main() -> None:
    if sys.argv[1:2] == ["check"]:
        check_dataset(sys.argv[2:])
    else:
        pack_images(sys.argv[1:])


def pack_images(words: list[str]) -> None:
    description = (
        "Pack labelled images into WebDataset shards with an index. "
        "`python jobs/pack.py check DATASET` verifies a dataset, and says what is in it."
    )
    loaded = load(PackConfig, words, prog="python jobs/pack.py", description=description)
    config = loaded.config

    # Only a real run waits for torch.
    from lib.data.pack import pack, plan_pack, runner

    plan = plan_pack(config)
    show_plan(loaded, plan.lines())
    if loaded.dry_run:
        return
    with reported("pack", Path(config.out).name, config.track.prometheus) as report:
        packed = pack(config, plan, runner(config, plan))
        report.images = sum(split.num_samples for split in packed.manifest.splits.values())
        report.bad_samples = len(packed.bad)
    rows = {
        **packed.remarks(config.resize),
        "dataset": packed.root,
        "images": ", ".join(f"{name} {s.num_samples:,}" for name, s in packed.manifest.splits.items()),
        "next": f"python jobs/finetune.py data.root={packed.root}",
    }
    block("packed", rows)


def check_dataset(words: list[str]) -> None:
    prog, description = "python jobs/pack.py check DATASET", "Verify a dataset, and say what is in it."
    loaded = load(CheckConfig, with_key(words, "root"), prog=prog, description=description)

    from lib.data.check import check, plan_check, runner

    plan = plan_check(loaded.config)
    show_plan(loaded, plan.lines())
    if loaded.dry_run:
        return
    checked = check(loaded.config, plan, runner(loaded.config, plan))
    for line in checked.lines():
        say(line)
    if checked.problems:
        hint = "restore what is named above from a copy, or pack the dataset again"
        raise RunError(f"{plan.where}: problems {len(checked.problems):,}", hint)
    next_command = f"python jobs/finetune.py data.root={plan.root}"
    block("checked", {**plan.amounts(), "problems": 0, "next": next_command})


if __name__ == "__main__":
    run_job(main)
