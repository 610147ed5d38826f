"""All files that are written from the tables of metrics: dashboards, rules, and their page."""

from helm.monitoring.alerts_cluster import cluster_alerts, target_alerts
from helm.monitoring.alerts_serving import serving_alerts
from helm.monitoring.alerts_training import training_alerts
from helm.monitoring.board_cluster import cluster_board
from helm.monitoring.board_serving import serving_board
from helm.monitoring.board_training import training_board
from helm.monitoring.burning import burning
from helm.monitoring.page import metrics_page
from helm.monitoring.panel import Board, board_json
from helm.monitoring.rule import Rule, rules_yaml


def rules() -> dict[str, dict[str, list[Rule]]]:
    """Return the groups of each file of rules."""
    return {
        "targets": {"manta-targets": target_alerts()},
        "serving": {"manta-budgets": burning(), "manta-endpoints": serving_alerts()},
        "training": {"manta-training": training_alerts()},
        "cluster": {"manta-cluster": cluster_alerts()},
    }


def boards() -> dict[str, Board]:
    """Return the dashboard of each file."""
    return {"training": training_board(), "serving": serving_board(), "cluster": cluster_board()}


def monitoring_files() -> dict[str, str]:
    """Return the texts, by their path in the repository."""
    chart = "helm/manta-monitoring/files"
    written = {f"{chart}/rules/{name}.yaml": rules_yaml(groups) for name, groups in rules().items()}
    written |= {f"{chart}/dashboards/{name}.json": board_json(board) for name, board in boards().items()}
    return written | {"docs/metrics.md": metrics_page()}
