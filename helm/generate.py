"""Write what is made from one source: values of the charts and docs/values.md from the models in helm/values,
rules, dashboards and docs/metrics.md from the tables in lib/track.

python -m helm.generate
"""

import json
from pathlib import Path

from pydantic import BaseModel

from helm.monitoring.files import monitoring_files
from helm.values.cluster import ClusterValues
from helm.values.defaults import values_yaml
from helm.values.jobs import KINDS, JobsValues
from helm.values.monitoring import MonitoringValues
from helm.values.schema import schema_of
from helm.values.section import Values
from helm.values.serve import ServeValues
from helm.values.tables import values_page
from lib.config.serving import ServeConfig

ROOT = Path(__file__).resolve().parents[1]
# A chart, the model of its values, and the models of lib.config that are part of it.
CHARTS: dict[str, tuple[type[Values], list[type[BaseModel]]]] = {
    "manta-cluster": (ClusterValues, []),
    "manta-jobs": (JobsValues, list(KINDS.values())),
    "manta-serve": (ServeValues, [ServeConfig]),
    "manta-monitoring": (MonitoringValues, []),
}


def files() -> dict[Path, str]:
    """Return the text of every file that is written."""
    written, schemas = {}, {}
    for chart, (model, embedded) in CHARTS.items():
        schemas[chart] = schema_of(model, embedded)
        written[ROOT / "helm" / chart / "values.yaml"] = values_yaml(model, chart)
        text = json.dumps(schemas[chart], indent=2, ensure_ascii=False)
        written[ROOT / "helm" / chart / "values.schema.json"] = f"{text}\n"
    written[ROOT / "docs/values.md"] = values_page(schemas)
    return written | {ROOT / path: text for path, text in monitoring_files().items()}


def main() -> None:
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
