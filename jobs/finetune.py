"""Fine-tune a network on a packed dataset, with data-parallel workers, and write a bundle.

python jobs/finetune.py jobs/presets/digits.yaml
python jobs/finetune.py data.root=runs/datasets/photos model.name=resnet18 model.weights=default
python jobs/finetune.py --list-models 'resnet*' 'timm:convnext*'
"""

import sys
from collections.abc import Sequence

from lib.cluster import connect
from lib.config.load import Answer, load, show_plan
from lib.config.paths import input_path
from lib.config.schema import FinetuneConfig
from lib.console import block, run_job
from lib.runtime import uncollected
from lib.track.job import reported
from lib.train.resume import check_unchanged, resume_words


def main() -> None:
    description = "Fine-tune a network on a packed dataset, and write a bundle."
    words = resume_words(sys.argv[1:])
    flags = {
        "--list-models": Answer("Print a table of networks; names and globs narrow it.", table_of_models)
    }
    loaded = load(FinetuneConfig, words, prog="python jobs/finetune.py", description=description, flags=flags)
    config = loaded.config

    # Only a real run waits for torch and Ray, and for both at the same time; one that goes on may have ended.
    if not (loaded.dry_run or config.run.num_workers == 0 or config.run.resume):
        connect(loads=["lib.train.launch", "lib.train.controller"])
    with uncollected():
        from lib.data.pack import pack_from
        from lib.train.launch import launch
        from lib.train.plan import check_settings, plan_run

    check_settings(config)
    if config.data.source is not None and not input_path(config.data.root).exists():
        pack_from(config.data.source, config.data.root, dry_run=loaded.dry_run)
        if loaded.dry_run:
            return
    plan = plan_run(config)
    if config.run.resume is not None:
        check_unchanged(plan.config, plan.folder)
    show_plan(loaded, plan.lines(), config=plan.config)
    if loaded.dry_run:
        return
    with reported("finetune", plan.folder.name, config.track.prometheus) as report:
        result = launch(plan)
        report.take(result)
    split, metrics = list(result["metrics"].items())[-1]
    rows = {
        "accuracy": f"{metrics['accuracy']:.4f} on {metrics['num_samples']:.0f} images of {split}",
        "bundle": result["bundle"],
        "report": plan.folder / "report/index.html",
        "next": f"python -m serving bundle={result['bundle']}",
    }
    if result["bad_samples"]:
        rows = {"left out": f"{result['bad_samples']} bad images: {plan.folder / 'quarantine.jsonl'}", **rows}
    block(f"run {plan.folder.name} is finished", rows)


def table_of_models(patterns: Sequence[str]) -> str:
    from lib.models.listing import list_models

    return list_models(patterns)


if __name__ == "__main__":
    run_job(main)
