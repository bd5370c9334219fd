"""What the dashboards have in common (pure).

Lives here: the variables, the marks in time, the links, and the selectors that queries begin with.
Comes in: a title and rows of panels. Goes out: a dashboard as JSON.
Must never know: Grafana's layout (`panels.py`), what a single dashboard is about.
"""

from __future__ import annotations

from typing import Any

from dashboards.panels import Json, Rows, board, link, marks, siblings, source, typed, variable

N = 'namespace=~"$namespace"'
"""Every query: the namespace that Prometheus added. All of them when none did: `.*` fits a label that is not there."""
A = f'{N},alias="$alias"'
AV = f'{A},version=~"$version"'
GONE = f'unless on (version) trimtab_adapter_info{{{A},status=~"retired|rejected"}}'
"""After a query by version: leaves out versions that will not answer any more."""
RUNBOOK = "alerts/RUNBOOK.md"


def firing(severity: str = ".+") -> str:
    """Alerts that fire: of this model, and of the sidecar, which have no alias."""
    which = f'{N},alias=~"$alias|",alertname=~"Trimtab.+",severity=~"{severity}",alertstate="firing"'
    return f"max by (alertname, severity) (ALERTS{{{which}}})"


def framed(uid: str, title: str, says: str, rows: Rows, *more: Any) -> Json:
    """A dashboard with the variables, marks and links of all of them; `more` are variables of its own."""
    variables = (
        source(),
        variable("namespace", "Namespace", "label_values(trimtab_build_info, namespace)", all_value=".*"),
        variable("alias", "Model", f"label_values(trimtab_drift_alarms_total{{{N}}}, alias)"),
        variable("version", "Adapter", f"label_values(trimtab_exchanges_total{{{A}}}, version)", many=True),
        *more,
        typed("status_page", "Status page", "http://127.0.0.1:8321/"),
        typed("runbook", "Runbook", RUNBOOK),
    )
    links = (siblings(), link("Status page", "${status_page}"), link("Runbook", "${runbook}"))
    made = board(uid, title, says, rows, variables, links)
    made["annotations"] = {
        "list": [
            marks("drift alarm", "red", f"trimtab_drift_last_alarm_timestamp_seconds{{{A}}} * 1000"),
            marks("order opened", "blue", f"trimtab_order_opened_timestamp_seconds{{{A}}} * 1000"),
            marks("swap", "green", f"trimtab_rollout_promoted_timestamp_seconds{{{A}}} * 1000"),
            marks("rolled back", "orange", f"trimtab_rollout_last_rolled_back_timestamp_seconds{{{A}}} * 1000"),
        ]
    }
    return made
