"""Write the network of a bundle as ONNX, torch.export and safetensors, each checked against the bundle.

python jobs/export.py bundle=runs/digits/bundle
python jobs/export.py bundle=runs/photos/bundle 'formats=[onnx]' out=exports/photos
"""

import sys

from lib.config.exporting import ExportConfig
from lib.config.load import load, show_plan
from lib.console import block, run_job, say


def main() -> None:
    description = "Write the network of a bundle in formats that other programs read."
    loaded = load(ExportConfig, sys.argv[1:], prog="python jobs/export.py", description=description)

    # Only a real run waits for torch.
    from lib.predict.export import FACTS, export, plan_export

    plan = plan_export(loaded.config)
    show_plan(loaded, plan.lines())
    if loaded.dry_run:
        return
    result = export(plan, say)
    files = [plan.folder / each["file"] for each in result["files"].values()]
    rows = {
        "files": ", ".join(f"{path.name} ({path.stat().st_size / 1e6:.1f} MB)" for path in files),
        "facts": plan.folder / FACTS,
        "checked": f"on {result['checked_on']} pictures, alone and together",
        "next": f"ls {plan.folder}",
    }
    block(f"exported {plan.bundle.name}", rows)


if __name__ == "__main__":
    run_job(main)
