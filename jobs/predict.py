"""Answer a folder of pictures, a packed dataset or Parquet files with a bundle or an ensemble.

python jobs/predict.py bundle=runs/photos/bundle input=inbox out=runs/predictions/inbox
"""

import sys

from lib.config.load import load, show_plan
from lib.config.predicting import PredictConfig
from lib.console import block, run_job, say
from lib.track.job import reported


def main() -> None:
    description = "Answer many pictures with a bundle or an ensemble, and write a Parquet file."
    loaded = load(PredictConfig, sys.argv[1:], prog="python jobs/predict.py", description=description)

    # Only a real run waits for torch.
    from lib.train.prediction import predict
    from lib.train.prediction_plan import plan_prediction

    plan = plan_prediction(loaded.config)
    show_plan(loaded, plan.lines())
    if loaded.dry_run:
        return
    with reported("predict", plan.folder.name, loaded.config.track.prometheus) as report:
        result = predict(plan, say)
        report.take(result)
    rate = result["images_per_s"]
    rows = {
        "answered": f"{result['answered']:,} images" + (f", {rate:,.0f} a second" if rate else ""),
        "predictions": result["predictions"],
        "next": f"python -c \"import pyarrow.parquet as p; print(p.read_table('{result['predictions']}'))\"",
    }
    if "abstained" in result:
        rows["abstained"] = f"{result['abstained']:,} of them, below {loaded.config.abstain_below:g}"
    if result["bad_samples"]:
        rows = {"left out": f"{result['bad_samples']} bad images: {plan.folder / 'quarantine.jsonl'}", **rows}
    block(f"answered {plan.config.input} with {plan.bundle.name}", rows)


if __name__ == "__main__":
    run_job(main)
