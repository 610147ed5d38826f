"""The end of a study: leaderboard, report, the best bundle, `result.json`.

result = conclude(plan, standings)
"""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.config.tune import TuneConfig
from lib.console import duration
from lib.errors import RunError
from lib.files import make_partial, write_text
from lib.report.study import PAGE, StudyPage, Table, write_study
from lib.train.finish import RESULT
from lib.tune.findings.registry import FINDINGS
from lib.tune.findings.transfer import IMAGES
from lib.tune.plan import StudyPlan
from lib.tune.standing import LEADERBOARD, Standing, write_leaderboard
from lib.tune.variant import Numbers

BUNDLE, REPORT = "bundle", "report"


def conclude(plan: StudyPlan, standings: Sequence[Standing]) -> dict[str, Any]:
    """Write what a study leaves behind; return the content of its `result.json`.

    Raises `RunError` if a trial failed, after all that, or if none has finished.
    """
    write_leaderboard(plan.folder / LEADERBOARD, standings)
    counts = Counter(each.status for each in standings)
    failed = [each for each in standings if each.status == "failed"]
    if not counts["finished"]:
        problem = failed[0].note["problem"] if failed else "all were stopped early"
        hint = failed[0].note.get("hint", "") if failed else "give study.grace_epochs more"
        raise RunError(f"no trial of {plan.folder.name} has finished: {problem}", hint)
    numbers = Numbers(plan, standings)
    answer = FINDINGS[plan.config.study.finding](numbers)
    best = max((each for each in standings if each.status == "finished"), key=lambda each: each.rank_by)
    promote(best.folder / BUNDLE, plan.folder / BUNDLE)
    page = StudyPage(
        question=plan.config.study.question or plan.folder.name,
        name=plan.folder.name,
        answer=answer.sentences,
        facts=_facts(plan, numbers, counts),
        tables=answer.tables,
        figures=answer.figures,
        trials=_trials(standings, plan.config.study.metric),
        method=_method(numbers),
        command=_command(plan),
        next_steps=[f"python -m serving bundle={plan.folder / BUNDLE}"],
    )
    write_study(plan.folder / REPORT, page)
    assert best.result is not None
    result = {
        "bundle": str(plan.folder / BUNDLE),
        "best_trial": best.name,
        "metrics": best.result["metrics"],
        "trials": dict(counts),
        "finding": answer.sentences,
        "variants": [_variant(numbers, each.label) for each in numbers.variants],
    }
    write_text(plan.folder / RESULT, json.dumps(result, indent=1) + "\n")
    if failed:
        problem = (
            f"{len(failed)} of {len(standings)} trials failed; {failed[0].name}: {failed[0].note['problem']}"
        )
        hint = f"the others are in {plan.folder / REPORT / PAGE}; try again: run.resume={plan.folder.name}"
        raise RunError(problem, hint)
    return result


def promote(bundle: Path, target: Path) -> None:
    """Copy the best bundle to its place; what an earlier end of this study put there goes."""
    folder = make_partial(target)
    try:
        shutil.copytree(bundle, folder, dirs_exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _variant(numbers: Numbers, label: str) -> dict[str, Any]:
    each = next(variant for variant in numbers.variants if variant.label == label)
    behind = numbers.behind.get(label)
    return {
        "values": each.values,
        "runs": [run.name for run in each.runs],
        "accuracy": each.accuracy.mean,
        "interval": each.accuracy.interval,
        "behind_best": None if behind is None else [behind.mean, behind.low, behind.high],
        "is_noise": None if behind is None else behind.is_noise,
        "train_s": each.train_s.mean,
    }


def _facts(plan: StudyPlan, numbers: Numbers, counts: Counter[Any]) -> dict[str, str]:
    config = plan.config
    trained = sum(each.train_s for each in numbers.standings)
    most = max(len(each.runs) for each in numbers.variants)
    return {
        "trials": ", ".join(f"{count} {status}" for status, count in counts.items()),
        "runs of a variant": f"{numbers.seeds} to {most}" if most > numbers.seeds else str(most),
        "dataset": plan.first.dataset.where,
        **({} if IMAGES in config.spaces else {"training images": f"{plan.first.num_images:,}"}),
        "measured on": f"{numbers.num_images:,} images of {numbers.split}",
        "chosen by": f"val {config.study.metric}",
        "epochs": _epochs(config, numbers),
        "training": f"{duration(trained)} in all",
    }


def _epochs(config: TuneConfig, numbers: Numbers) -> str:
    """Say how long the runs were to take, which may differ between variants."""
    key = "train.epochs"
    asked = {each.values.get(key, config.train.epochs) for each in numbers.variants}
    return " or ".join(str(each) for each in sorted(asked, reverse=True))


def _method(numbers: Numbers) -> list[str]:
    comparisons = max(1, len(numbers.variants) - 1)
    several = (
        f", all {comparisons} comparisons with the best together (Bonferroni)" if comparisons > 1 else ""
    )
    return [
        f"Accuracies are of {numbers.num_images:,} images of {numbers.split}, the same for all; the best is "
        "chosen by validation.",
        f"Intervals hold 95%{several}.",
        "They count that other images could have been measured, paired image by image in differences, and, "
        "with several runs of a variant, that other seeds could have been drawn (Student's t).",
        "A difference is within noise if its interval holds zero: it may still be real, and too small for so "
        "few images and seeds.",
    ]


def _trials(standings: Sequence[Standing], metric: str) -> Table:
    rows = [
        [
            each.name,
            each.status,
            f"{each.best['epoch']} of {len(each.history)}" if each.best else "",
            "" if each.score is None else f"{each.score:.4f}",
            f"{each.measured['accuracy']:.4f}" if each.result is not None else "",
            f"{each.train_s:,.1f}",
            str(each.note.get("problem", "")),
        ]
        for each in standings
    ]
    columns = ["trial", "status", "best epoch", f"val {metric}", "accuracy", "training s", ""]
    return Table("Trials", columns, rows, "Each is a run of its own, with its report, in trials/.")


def _command(plan: StudyPlan) -> str:
    return f"python jobs/tune.py {plan.folder / 'config.yaml'} run.name=again"
