"""Add an int8 network to a bundle, if it is as accurate: an endpoint answers faster with it.

python jobs/quantize.py bundle=runs/digits/bundle data.root=runs/datasets/digits
python jobs/quantize.py bundle=… data.root=… max_accuracy_drop=0.002 out=runs/digits-fast
"""

import sys

from lib.config.load import load, show_plan
from lib.config.quantizing import QuantizeConfig
from lib.console import block, run_job, say


def main() -> None:
    description = "Add an int8 network to a bundle, if it is as accurate."
    loaded = load(QuantizeConfig, sys.argv[1:], prog="python jobs/quantize.py", description=description)

    # Only a real run waits for torch.
    from lib.predict.quantize import plan_quantize, quantize

    plan = plan_quantize(loaded.config)
    show_plan(loaded, plan.lines())
    if loaded.dry_run:
        return
    result = quantize(plan, say)
    int8 = result["int8"]
    rows = {
        "accuracy": f"{int8['accuracy']:.4f} in int8, {int8['fp32_accuracy']:.4f} in fp32, "
        f"on {int8['num_samples']:,} images of {int8['split']}",
        "bundle": result["bundle"],
        "next": f"python -m serving bundle={result['bundle']}",
    }
    block(f"quantised {plan.bundle.name}", rows)


if __name__ == "__main__":
    run_job(main)
