"""The alerts that fire: what each says of which model, tenant or node, and since when."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from serving.telemetry.dashboards.board import alerts
from serving.telemetry.dashboards.filters import pattern
from serving.telemetry.dashboards.prometheus import PrometheusClient, PrometheusUnavailable, QueryFailed, gather

INSTANCES = 5
"""Most instances of an alert that are listed: an outage may have hundreds."""

_FIRING = 'ALERTS{{alertstate="firing",severity!="none",namespace=~"{namespace}"}}'
_COUNT = "count by (alertname, severity) ({firing})"
# A recorded alert without its time has the value 1, as in ALERTS.
_OLDEST = (
    "bottomk by (alertname, severity) (1,"
    " (ALERTS_FOR_STATE and ignoring (alertstate) {firing}) or ignoring (alertstate) {firing})"
)
_ORDER = ("page", "critical", "ticket", "warning", "info")
"""Severities of the stack's alerts, and of those that come with kube-prometheus-stack."""
_PLACE = re.compile(r"\{\{\s*\$(?:labels\.(\w+)|value)[^}]*\}\}")


@dataclass(frozen=True, slots=True)
class Instance:
    """One of the things that an alert fires for; its condition holds since a time in Unix seconds."""

    summary: str | None
    since: int | None


@dataclass(frozen=True, slots=True)
class FiringAlert:
    """An alert that fires, with the number of its instances and the first of them, the oldest first."""

    name: str
    severity: str
    count: int
    instances: Sequence[Instance]


async def firing_alerts(prometheus: PrometheusClient, now: int) -> list[FiringAlert]:
    """Returns the stack's firing alerts, the most severe first; raises `PrometheusUnavailable` and `QueryFailed`."""
    # An alert about a whole cluster has no namespace.
    namespace = f"{pattern(prometheus.namespace)}|" if prometheus.namespace else ".*"
    firing = _FIRING.format(namespace=namespace)
    counted, oldest, active = await gather(
        prometheus.instant(_COUNT.format(firing=firing), now),
        prometheus.instant(_OLDEST.format(firing=firing), now),
        _active(prometheus),
    )
    found = []
    for one in counted:
        key = _key(one["metric"])
        # A server that only answers queries has no rules, and so no texts: then they are filled in here.
        instances = active.get(key) or [_recorded(each) for each in oldest if _key(each["metric"]) == key]
        first = sorted(instances, key=lambda each: each.since or now)[:INSTANCES]
        found.append(FiringAlert(*key, int(one["value"][1]), first))
    return sorted(found, key=lambda alert: (_rank(alert.severity), alert.name))


async def _active(prometheus: PrometheusClient) -> dict[tuple[str, str], list[Instance]]:
    """Returns what the rules of this Prometheus say, by name and severity of the alert."""
    try:
        answered = await prometheus.alerts()
    except (PrometheusUnavailable, QueryFailed):
        return {}
    found: dict[tuple[str, str], list[Instance]] = {}
    for alert in answered:
        labels, annotations = alert.get("labels", {}), alert.get("annotations", {})
        elsewhere = prometheus.namespace and labels.get("namespace", "") not in ("", prometheus.namespace)
        if alert.get("state") != "firing" or elsewhere:
            continue
        found.setdefault(_key(labels), []).append(Instance(annotations.get("summary"), _moment(alert.get("activeAt"))))
    return found


def _recorded(one: Mapping[str, Any]) -> Instance:
    """Returns an instance by its recorded series, whose value is the time."""
    known = alerts().get(one["metric"].get("alertname", ""))
    since = int(float(one["value"][1]))
    return Instance(filled(known.summary, one["metric"]) if known is not None else None, since if since > 1 else None)


def filled(summary: str, labels: Mapping[str, str]) -> str:
    """Returns a summary with the values of its labels; a number that nobody recorded is left open."""
    return _PLACE.sub(lambda match: labels.get(match[1], "…") if match[1] else "…", summary)


def _key(labels: Mapping[str, str]) -> tuple[str, str]:
    return labels.get("alertname", ""), labels.get("severity", "")


def _moment(text: object) -> int | None:
    """Returns a time of Prometheus, which has nanoseconds, in Unix seconds."""
    try:
        return int(datetime.fromisoformat(str(text)).timestamp())
    except ValueError:
        return None


def _rank(severity: str) -> int:
    return _ORDER.index(severity) if severity in _ORDER else len(_ORDER)
