"""Files of dashboards and rules: for Grafana, Perses, Prometheus, Alertmanager, Kubernetes, chart and console."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from monitoring import console_files, inhibitions
from monitoring.addresses import Addresses
from monitoring.dashboards import DASHBOARDS, grafana, log, perses
from monitoring.dashboards.exceptions import lint_exemptions, lint_file
from monitoring.dashboards.links import links_by_panel
from monitoring.groups import GROUPS, RULES
from monitoring.rules_file import document
from monitoring.scope import Scope, restrict_groups

CHART = Path(__file__).parents[1] / "charts" / "headrace" / "files"
CHARTS = Scope("HEADRACE_NAMESPACE", "HEADRACE_ENGINES")
"""Placeholders in rules, which the chart's template replaces."""
CHART_ADDRESSES = Addresses("HEADRACE_RUNBOOKS", "HEADRACE_GRAFANA")
"""Placeholders in rules and dashboards, which the chart's template replaces or, without an address, removes."""
NOTE = "# Made by `python -m monitoring --chart`: do not edit.\n"


def chart_files() -> dict[str, str]:
    """Returns the chart's files, by path below `CHART`."""
    rules = {path: NOTE + text for path, text in _rules(CHARTS, CHART_ADDRESSES)}
    return dict(_dashboards(CHART_ADDRESSES)) | rules


def output_files(namespace: str = "", addresses: Addresses | None = None) -> dict[str, str]:
    """Returns all files by path; the rules are for the stack in `namespace`, or for all stacks if that is empty."""
    scope, to = Scope.for_namespace(namespace) if namespace else None, addresses or Addresses()
    made = dict(_dashboards(to)) | dict(_rules(scope, to)) | dict(_perses(to)) | dict(_kubernetes(scope, to))
    made["dashboards/.lint"] = _yaml(lint_file(lint_exemptions(DASHBOARDS, GROUPS)))
    made["alertmanager/inhibit_rules.yaml"] = _yaml(inhibitions.document())
    return made


def write(folder: Path, made: Mapping[str, str]) -> None:
    """Writes files below a folder, which is created if necessary. Raises `OSError`."""
    for path, text in sorted(made.items()):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def write_chart() -> None:
    """Updates the chart's files, and deletes those that are no longer generated. Raises `OSError`."""
    made = chart_files()
    for stale in stored_chart_files().keys() - made.keys():
        (CHART / stale).unlink()
    write(CHART, made)


def write_console() -> None:
    """Updates the files from which the gateway's console draws. Raises `OSError`."""
    write(console_files.CONSOLE, console_texts())


def console_texts() -> dict[str, str]:
    """Returns the console's files, by path below `console_files.CONSOLE`."""
    # A line for each dashboard and alert: a change of one is a change of its line.
    return {
        name: "[\n" + ",\n".join(_json(each).rstrip() for each in listed) + "\n]\n"
        for name, listed in console_files.documents().items()
    }


def stored_chart_files() -> dict[str, str]:
    """Returns the chart's current files, by path below `CHART`."""
    found = (*CHART.glob("dashboards/*"), *CHART.glob("rules/*"))
    return {str(file.relative_to(CHART)): file.read_text(encoding="utf-8") for file in found}


def _dashboards(to: Addresses) -> Iterator[tuple[str, str]]:
    for dashboard in DASHBOARDS:
        links = links_by_panel(dashboard, GROUPS, to)
        yield f"dashboards/{dashboard.name}.json", _json(grafana.document(dashboard, links))
    yield f"dashboards/{log.NAME}.json", _json(log.document(grafana.TAG, grafana.dashboard_uid(log.NAME)))


def _perses(to: Addresses) -> Iterator[tuple[str, str]]:
    for dashboard in DASHBOARDS:
        yield f"perses/{dashboard.name}.json", _json(perses.document(dashboard, links_by_panel(dashboard, GROUPS, to)))


def _documents(scope: Scope | None, to: Addresses) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, groups in RULES.items():
        yield name, document(restrict_groups(groups, scope) if scope else groups, to)


def _rules(scope: Scope | None, to: Addresses) -> Iterator[tuple[str, str]]:
    for name, spec in _documents(scope, to):
        yield f"rules/{name}.yaml", _yaml(spec)


def _kubernetes(scope: Scope | None, to: Addresses) -> Iterator[tuple[str, str]]:
    for path, text in _dashboards(to):
        name = Path(path).stem
        metadata = {"name": f"headrace-dashboard-{name}", "labels": {"grafana_dashboard": "1"}}
        found = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {f"{name}.json": text}}
        yield f"kubernetes/dashboard-{name}.yaml", _yaml(found)
    for name, spec in _documents(scope, to):
        found = {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": f"headrace-{name}", **({"namespace": scope.namespace} if scope else {})},
            "spec": spec,
        }
        yield f"kubernetes/rules-{name}.yaml", _yaml(found)


def _json(given: Mapping[str, Any]) -> str:
    # As one line: a Helm release contains the whole chart and is limited to 1 MiB.
    return json.dumps(given, sort_keys=True, separators=(",", ":")) + "\n"


def _yaml(given: Mapping[str, Any]) -> str:
    return yaml.dump(given, Dumper=yaml.CSafeDumper, sort_keys=False, width=10_000, allow_unicode=True)
