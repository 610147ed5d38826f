"""What a rule of Prometheus is, and the text of a file of them.

Words with a dollar sign are filled in by the chart (templates/rules.yaml) or by cluster.observe:
those of WORDS. `$labels` and `$value` are Prometheus's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from helm.monitoring.names import Names

RULED = Names('namespace=~"$NAMESPACES"')
WORDS = ("$NAMESPACES", "$RUNBOOKS", "$ERROR_BUDGET", "$SLOW_BUDGET", "$SLOW_SECONDS")
_HEAD = "# Written by python -m helm.generate. The chart fills in words with a dollar sign.\n"


@dataclass(frozen=True)
class Record:
    """A query whose answer is kept under a name."""

    name: str
    expr: str

    def as_rule(self) -> dict[str, Any]:
        """Return it as Prometheus reads it."""
        return {"record": self.name, "expr": _Text(self.expr.strip())}


@dataclass(frozen=True)
class Alert:
    """A query whose answers are told to somebody: `critical` at once, `warning` in working hours."""

    name: str
    expr: str
    severity: Literal["critical", "warning"]
    summary: str
    description: str
    lasts: str = "0m"
    """How long it has to be so."""

    def as_rule(self) -> dict[str, Any]:
        """Return it as Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": _Text(self.expr.strip()),
            "for": self.lasts,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"$RUNBOOKS#{self.name.lower()}",
            },
        }


Rule = Record | Alert


def rules_yaml(groups: Mapping[str, Sequence[Rule]]) -> str:
    """Return a file of groups of rules."""
    made = [{"name": name, "rules": [rule.as_rule() for rule in rules]} for name, rules in groups.items()]
    return _HEAD + yaml.dump(
        {"groups": made}, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True
    )


def grown(counter: str, by: str, within: str) -> str:
    """Ask whether a counter has grown that may be new; increase() only sees one that was there before."""
    now = f"sum by ({by}) ({counter})"
    before = f"sum by ({by}) ({counter} offset {within})"
    return f"{now}\n> ({before} or 0 * {now})"


class _Text(str):
    """Text that is written as it stands, line by line, if there are several."""


class _Dumper(yaml.SafeDumper):
    pass


def _represent(dumper: yaml.SafeDumper, text: _Text) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(_Text, _represent)
