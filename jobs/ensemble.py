"""Put bundles together to an ensemble, with views and a cascade, and write it as a folder.

python jobs/ensemble.py 'members=[runs/a/bundle, runs/b/bundle]' data.root=runs/datasets/photos views=hflip
"""

import sys

from lib.config.ensembles import EnsembleConfig
from lib.config.load import load, show_plan
from lib.console import block, run_job


def main() -> None:
    description = "Put bundles together to an ensemble, with views and a cascade."
    loaded = load(EnsembleConfig, sys.argv[1:], prog="python jobs/ensemble.py", description=description)

    # Only a real run waits for torch.
    from lib.predict.assemble import build_ensemble
    from lib.predict.planning import plan_ensemble
    from lib.report.ensemble import measured_rows

    plan = plan_ensemble(loaded.config)
    show_plan(loaded, plan.lines())
    if loaded.dry_run:
        return
    measured = build_ensemble(plan)
    rows = {
        **measured_rows(measured),
        "ensemble": plan.folder,
        "report": plan.folder / "report/index.html",
        "next": f"python -m serving bundle={plan.folder}",
    }
    block(f"ensemble {plan.folder.name} is ready", rows)


if __name__ == "__main__":
    run_job(main)
