"""From the best weights to what a run leaves behind: metrics of every split, the bundle, the report.

result = finish(trainer)            # on every worker; worker 0 writes
"""

import json
import platform
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from lib.bundle import BundleContent, CalibrationFacts, Golden, write_bundle
from lib.config.yaml_write import to_yaml
from lib.errors import UserError
from lib.files import write_text
from lib.images.preprocess import prepare
from lib.images.spec import PreprocessSpec
from lib.metrics import Outcomes, per_class, summarise
from lib.models.build import build_model
from lib.predict.baseline import baseline_of
from lib.predict.explain import heat_picture
from lib.predict.predictor import probabilities_of
from lib.report.card import model_card
from lib.report.html import write_report
from lib.report.run import build_report
from lib.train.loop import Trainer
from lib.train.run_temperature import fit_run_temperature, outcomes_at
from lib.train.sharding import scattered
from lib.train.sheet import read_sheet
from lib.train.state import load_best

RESULT = "result.json"


def finish(trainer: Trainer) -> dict[str, Any]:
    """Measure the best model on val and test, write bundle, report and `result.json`; return the result."""
    plan = trainer.plan
    best = trainer.state.best_epoch
    trainer.world.wait()  # worker 0 may still be writing the weights
    weights = load_best(plan.state_folder, best)
    trainer.measured.load_state_dict(scattered(weights, trainer.measured))
    splits = [name for name in plan.dataset.manifest.splits if name != "train"] or ["train"]
    temperature = fit_run_temperature(trainer) if "val" in splits else 1.0
    pairs = {split: outcomes_at(trainer, split, [1.0, temperature]) for split in splits}
    outcomes = {split: calibrated for split, (_, calibrated) in pairs.items()}
    trainer.inputs.share_bad()
    classes = plan.dataset.classes
    metrics = {split: summarise(found, len(classes)) for split, found in outcomes.items()}
    result = {
        "bundle": str(plan.folder / "bundle"),
        "metrics": metrics,
        "best_epoch": best,
        "epochs": trainer.state.epoch,
        "bad_samples": len(trainer.inputs.quarantine),
        "calibration": {
            "temperature": temperature,
            "split": "val" if "val" in splits else None,
            "before": {split: summarise(raw, len(classes)) for split, (raw, _) in pairs.items()},
        },
    }
    if trainer.world.rank == 0:
        _write(trainer, weights, outcomes, metrics, result)
    trainer.world.wait()
    return result


def read_result(folder: Path) -> dict[str, Any] | None:
    """Read the result of a finished run, or None if it has not finished."""
    path = folder / RESULT
    if not path.is_file():
        return None
    try:
        result: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}", "remove it to finish the run again") from None
    return result


def _write(
    trainer: Trainer,
    weights: dict[str, Any],
    outcomes: dict[str, Outcomes],
    metrics: dict[str, dict[str, float]],
    result: dict[str, Any],
) -> None:
    plan, config = trainer.plan, trainer.config
    shown = list(outcomes)[-1]
    classes = plan.dataset.classes
    temperature = result["calibration"]["temperature"]
    samples = plan.dataset.samples(shown)
    # The golden answer is that of the plain fp32 network on a CPU: what every replica must reproduce.
    model = build_model(config.model.name, **plan.arch_kwargs)
    model.load_state_dict(weights)
    model.eval()
    report = build_report(
        plan.folder.name,
        classes,
        metrics,
        outcomes[shown],
        samples,
        summary={
            "model": config.model.name,
            "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
            "weights": config.model.weights,
            "dataset": plan.dataset.where,
            "training images": f"{plan.num_images:,}",
            "best epoch": f"{trainer.state.best_epoch} of {trainer.state.epoch}",
            "workers": f"{trainer.world.size} on {trainer.world.device.type} ({platform.machine()})",
        },
        history=trainer.state.history,
        rates=trainer.state.rates,
        augmentations=read_sheet(plan),
        explain=partial(heat_picture, model, plan.preprocess),
        calibration=result["calibration"] if result["calibration"]["split"] else None,
        next_steps=[f"python -m serving bundle={plan.folder / 'bundle'}"],
    )
    card = model_card(
        name=plan.folder.name,
        arch=config.model.name,
        classes=classes,
        preprocess=plan.preprocess,
        metrics=metrics,
        dataset_digest=plan.dataset.manifest.digest,
        training={
            "weights at the start": config.model.weights,
            "epochs": f"{trainer.state.best_epoch} of {trainer.state.epoch} (best by validation)",
            "seed": config.run.seed,
            "temperature": f"{temperature:g} (divides the logits, so that confidence fits accuracy)",
            **({"averaged": f"with decay {config.train.ema_decay:g}"} if config.train.ema_decay else {}),
            **({"learnt from": ", ".join(config.train.teachers)} if config.train.teachers else {}),
        },
        rows=per_class(outcomes[shown], classes),
    )
    page = write_report(plan.folder / "report", report)
    content = BundleContent(
        model=model,
        arch=config.model.name,
        arch_kwargs=plan.arch_kwargs,
        classes=classes,
        preprocess=plan.preprocess,
        metrics=metrics,
        dataset={"digest": plan.dataset.manifest.digest, "source": plan.dataset.manifest.source},
        golden=_golden(model, plan.preprocess, samples.read(int(outcomes[shown].ids[0])), temperature),
        temperature=temperature,
        calibration=_calibration_facts(result),
        baseline=baseline_of(outcomes["val"], "val", len(classes)) if "val" in outcomes else None,
        config_yaml=to_yaml(config),
        card=card,
        write_report=partial(_copy_page, page),
    )
    # What a comparison with another run needs, image by image.
    outcomes[shown].save(plan.folder / f"report/outcomes-{shown}.npz")
    # Without a result, a bundle is what an interrupted end of this very run left.
    shutil.rmtree(plan.folder / "bundle", ignore_errors=True)
    write_bundle(plan.folder / "bundle", content)
    write_text(plan.folder / RESULT, json.dumps(result, indent=1) + "\n")
    samples.close()


def _copy_page(page: Path, folder: Path) -> None:
    """Put the report into the bundle; drawing it a second time would take longer."""
    folder.mkdir()
    shutil.copyfile(page, folder / page.name)


def _golden(model: nn.Module, spec: PreprocessSpec, data: bytes, temperature: float) -> Golden:
    return Golden(data, probabilities_of(model, prepare(data, spec)[None], spec, temperature)[0])


def _calibration_facts(result: dict[str, Any]) -> CalibrationFacts | None:
    calibration = result["calibration"]
    split = calibration["split"]
    if split is None:
        return None
    before, after = calibration["before"][split], result["metrics"][split]
    return CalibrationFacts(
        split=split, num_samples=after["num_samples"], ece_before=before["ece"], ece=after["ece"]
    )
