"""A PodMonitor as configuration for a Prometheus without prometheus-operator."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]

SPEC = frozenset({"selector", "podTargetLabels", "podMetricsEndpoints"})
ENDPOINT = frozenset({"port", "path", "interval", "scrapeTimeout"})
SELECTOR = frozenset({"matchLabels", "matchExpressions"})


def scrape_configs(pod_monitor: Object, kubeconfig_file: str | None = None) -> list[dict[str, Any]]:
    """Returns entries of `scrape_configs`, one for each endpoint, with the pods of the monitor's namespace as targets.

    Relabelling follows `generatePodMonitorConfig` in prometheus-operator 0.85 (pkg/prometheus/promcfg.go), so that
    labels are the same with and without the operator. Prometheus lists pods with its pod's ServiceAccount, or with
    `kubeconfig_file`.

    Raises `ValueError` for a field that is not supported here, since ignoring it would change the set of targets.
    """
    spec = pod_monitor["spec"]
    _require_known("spec", spec, SPEC)
    _require_known("spec.selector", spec["selector"], SELECTOR)
    namespace, name = pod_monitor["metadata"]["namespace"], pod_monitor["metadata"]["name"]
    discovery: dict[str, Any] = {"role": "pod", "namespaces": {"names": [namespace]}}
    if kubeconfig_file:
        discovery["kubeconfig_file"] = kubeconfig_file
    configs = []
    for i, endpoint in enumerate(spec["podMetricsEndpoints"]):
        _require_known(f"spec.podMetricsEndpoints[{i}]", endpoint, ENDPOINT)
        timing = {"scrape_interval": endpoint.get("interval"), "scrape_timeout": endpoint.get("scrapeTimeout")}
        configs.append(
            {
                "job_name": f"podMonitor/{namespace}/{name}/{i}",
                "kubernetes_sd_configs": [discovery],
                **{key: value for key, value in timing.items() if value},
                "metrics_path": endpoint.get("path", "/metrics"),
                "relabel_configs": list(_relabelling(spec, endpoint["port"], f"{namespace}/{name}")),
            }
        )
    return configs


def _relabelling(spec: Object, port: str, job: str) -> Iterator[dict[str, Any]]:
    yield {"source_labels": ["job"], "target_label": "__tmp_prometheus_job_name"}
    yield _rule("drop", ["__meta_kubernetes_pod_phase"], "(Failed|Succeeded)")
    selector = spec["selector"]
    for key, value in sorted(selector.get("matchLabels", {}).items()):
        yield _rule("keep", [_label(key), _present(key)], f"({value});true")
    for expression in selector.get("matchExpressions", ()):
        yield _expression(expression["key"], expression["operator"], expression.get("values", ()))
    yield _rule("keep", ["__meta_kubernetes_pod_container_port_name"], port)
    for source, target in (("namespace", "namespace"), ("pod_container_name", "container"), ("pod_name", "pod")):
        yield {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": target}
    for key in spec.get("podTargetLabels", ()):
        yield {"source_labels": [_label(key)], "target_label": _sanitize(key), "regex": "(.+)", "replacement": "${1}"}
    yield {"target_label": "job", "replacement": job}
    yield {"target_label": "endpoint", "replacement": port}


def _expression(key: str, operator: str, values: Sequence[str]) -> dict[str, Any]:
    match operator:
        case "In" | "NotIn":
            listed = f"({'|'.join(values)});true"
            return _rule("keep" if operator == "In" else "drop", [_label(key), _present(key)], listed)
        case "Exists" | "DoesNotExist":
            return _rule("keep" if operator == "Exists" else "drop", [_present(key)], "true")
    raise ValueError(f"spec.selector.matchExpressions: there is no operator {operator}")


def _rule(action: str, sources: list[str], regex: str) -> dict[str, Any]:
    return {"action": action, "source_labels": sources, "regex": regex}


def _sanitize(key: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", key)


def _label(key: str) -> str:
    return f"__meta_kubernetes_pod_label_{_sanitize(key)}"


def _present(key: str) -> str:
    return f"__meta_kubernetes_pod_labelpresent_{_sanitize(key)}"


def _require_known(at: str, given: Object, known: frozenset[str]) -> None:
    if unknown := sorted(given.keys() - known):
        raise ValueError(f"{at}.{unknown[0]} is not supported")
