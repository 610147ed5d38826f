"""Answer a question with many fine-tuning runs: search their settings, compare them, and report.

python jobs/tune.py jobs/presets/studies/schedules.yaml data.root=runs/datasets/photos
python jobs/tune.py data.root=runs/datasets/photos 'search.optim.lr={loguniform: [1e-4, 1e-1]}'
"""

import sys

from lib.cluster import connect
from lib.config.load import load, show_plan
from lib.config.paths import input_path
from lib.config.tune import TuneConfig
from lib.console import block, run_job, say
from lib.runtime import uncollected
from lib.track.job import reported
from lib.train.resume import resume_words


def main() -> None:
    description = "Run many fine-tuning runs, and answer a question from their numbers."
    words = resume_words(sys.argv[1:])
    loaded = load(TuneConfig, words, prog="python jobs/tune.py", description=description)
    config = loaded.config

    # Only a real run waits for torch and Ray, and for both at the same time; one that goes on may have ended.
    if not (loaded.dry_run or config.run.resume):
        connect(loads=["lib.tune.study"])
    with uncollected():
        from lib.data.pack import pack_from
        from lib.tune.plan import plan_study
        from lib.tune.study import run_study

    if config.data.source is not None and not input_path(config.data.root).exists():
        pack_from(config.data.source, config.data.root, dry_run=loaded.dry_run)
        if loaded.dry_run:
            return
    plan = plan_study(config)
    show_plan(loaded, plan.lines(), config=plan.config)
    if loaded.dry_run:
        return
    with reported("tune", plan.folder.name, config.track.prometheus) as report:
        result = run_study(plan)
        report.take(result)
    say()
    for line in result["finding"]:
        say(line)
    split, metrics = list(result["metrics"].items())[-1]
    rows = {
        "best": result["best_trial"],
        "accuracy": f"{metrics['accuracy']:.4f} on {metrics['num_samples']:.0f} images of {split}",
        "bundle": result["bundle"],
        "leaderboard": plan.folder / "leaderboard.csv",
        "report": plan.folder / "report/index.html",
        "next": f"python -m serving bundle={result['bundle']}",
    }
    block(f"study {plan.folder.name} is finished", rows)


if __name__ == "__main__":
    run_job(main)
