"""What Prometheus and Grafana are told: files in a folder, written anew at each start.

write_settings(ObserveConfig(), Path("runs/observe"))
"""

from pathlib import Path

import yaml

from helm.values.monitoring import Rules
from lib.config.clusters import ObserveConfig
from lib.files import make_folder, write_text

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "helm/manta-monitoring/files"
# A Ray on this machine gets the labels that one on Kubernetes has from its pods.
_LABELS = ("namespace", "release", "ray_io_cluster")


def write_settings(config: ObserveConfig, folder: Path) -> None:
    """Write prometheus.yml, rules/, grafana.ini and provisioning/ into a folder."""
    for path, text in settings(config, folder.absolute()).items():
        make_folder((folder / path).parent)
        write_text(folder / path, text)


def settings(config: ObserveConfig, folder: Path) -> dict[str, str]:
    """Return the text of every file by its path in the folder."""
    rules = {f"rules/{path.name}": local_rules(path.read_text()) for path in (FILES / "rules").glob("*.yaml")}
    made = rules | {"grafana.ini": _grafana_ini(config, folder)}
    documents = {
        "prometheus.yml": _prometheus(config, folder),
        "provisioning/datasources/manta.yaml": _datasources(config),
        "provisioning/dashboards/manta.yaml": _dashboards(),
    }
    return made | {path: yaml.safe_dump(each, sort_keys=False) for path, each in documents.items()}


def local_rules(text: str) -> str:
    """Fill in what the chart fills in on Kubernetes, with the chart's defaults."""
    rules = Rules()
    words = {
        "$NAMESPACES": ".*",
        "$RUNBOOKS": (ROOT / rules.runbooks).as_uri(),
        "$ERROR_BUDGET": str(rules.error_budget),
        "$SLOW_BUDGET": str(rules.slow_budget),
        "$SLOW_SECONDS": rules.slow_seconds,
    }
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def _prometheus(config: ObserveConfig, folder: Path) -> dict[str, object]:
    every = f"{config.interval_s}s"
    files = [str(Path(each).absolute()) for each in config.targets]
    labels = [{"target_label": label, "replacement": "local"} for label in _LABELS]
    discovery = [{"files": files, "refresh_interval": "5s"}]
    return {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": [str(folder / "rules/*.yaml")],
        "scrape_configs": [{"job_name": "ray", "file_sd_configs": discovery, "relabel_configs": labels}],
    }


def _grafana_ini(config: ObserveConfig, folder: Path) -> str:
    sections: dict[str, dict[str, object]] = {
        "server": {"http_addr": "127.0.0.1", "http_port": config.grafana_port},
        "paths": {
            "data": folder / "grafana",
            "logs": folder / "grafana/log",
            "plugins": folder / "grafana/plugins",
            "provisioning": folder / "provisioning",
        },
        # Whoever reaches the loopback interface may look.
        "auth.anonymous": {"enabled": "true", "org_role": "Viewer"},
        "analytics": {"reporting_enabled": "false", "check_for_updates": "false"},
    }
    lines = [
        line
        for name, section in sections.items()
        for line in (f"[{name}]", *(f"{key} = {value}" for key, value in section.items()), "")
    ]
    return "\n".join(lines)


def _datasources(config: ObserveConfig) -> dict[str, object]:
    source = {
        "name": "Prometheus",
        "type": "prometheus",
        "access": "proxy",
        "url": f"http://127.0.0.1:{config.port}",
        "isDefault": True,
        # Ray's figures change every 10 s; rates are taken over four times this.
        "jsonData": {"timeInterval": f"{max(config.interval_s, 10)}s"},
    }
    return {"apiVersion": 1, "datasources": [source]}


def _dashboards() -> dict[str, object]:
    options = {"path": str(FILES / "dashboards")}
    provider = {"name": "Manta", "folder": "Manta", "type": "file", "options": options}
    return {"apiVersion": 1, "providers": [provider]}
