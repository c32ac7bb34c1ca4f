"""Prometheus in the cluster, with what the stack's own PodMonitor and PrometheusRules ask of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx
import yaml

from tests.cluster import around
from tests.cluster.images import Image
from tests.cluster.objects import definitions
from tests.monitoring.podmonitor import scrape_configs
from tests.wait import eventually
from tools.cluster.kubectl import kubectl

NAMESPACE = around.MONITORING
OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
KINDS = ("podmonitors", "prometheusrules")
PORT = 9090


def kinds() -> AbstractContextManager[None]:
    """The kinds of objects of prometheus-operator, without the operator."""
    folder = "example/prometheus-operator-crd/monitoring.coreos.com"
    return definitions(OPERATOR, *(f"{folder}_{kind}.yaml" for kind in KINDS))


def found(namespace: str, kind: str) -> list[dict[str, Any]]:
    """The objects of a kind in a namespace, as the operator would read them."""
    return list(json.loads(kubectl(f"-n={namespace}", "get", kind, "-o=json"))["items"])


def answers(url: str) -> bool:
    """Whether it does now: each time by a connection of its own, since one that was lost on its way stays lost."""
    try:
        return httpx.get(f"{url}/-/ready", timeout=2).is_success
    except httpx.TransportError:
        return False


@contextmanager
def prometheus(image: Image, namespace: str) -> Iterator[str]:
    """A Prometheus with the targets and rules of the PodMonitors and PrometheusRules of `namespace`; yields its URL."""
    monitors = found(namespace, "podmonitors")
    assert monitors, f"there is no PodMonitor in {namespace}"
    rules = {f"{rule['metadata']['name']}.yaml": rule["spec"] for rule in found(namespace, "prometheusrules")}
    config = {
        "rule_files": [f"/etc/prometheus/{name}" for name in rules],
        "scrape_configs": [entry for monitor in monitors for entry in scrape_configs(monitor)],
    }
    files = {
        name: yaml.safe_dump(content, width=10_000) for name, content in {"prometheus.yml": config, **rules}.items()
    }
    container = {
        "image": image.reference,
        "args": ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/data"],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": PORT}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/prometheus"},
            {"name": "data", "mountPath": "/data"},
        ],
    }
    pod = {
        "serviceAccountName": "prometheus",
        "volumes": [{"name": "config", "configMap": {"name": "prometheus"}}, {"name": "data", "emptyDir": {}}],
    }
    around.apply(
        around.namespace(NAMESPACE),
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "prometheus", "namespace": NAMESPACE},
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "prometheus", "namespace": namespace},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "prometheus", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "prometheus"},
            "subjects": [{"kind": "ServiceAccount", "name": "prometheus", "namespace": NAMESPACE}],
        },
        around.config_map(NAMESPACE, "prometheus", **files),
        around.workload("Deployment", NAMESPACE, "prometheus", container, pod),
        around.service(NAMESPACE, "prometheus", PORT),
    )
    try:
        kubectl(f"-n={NAMESPACE}", "rollout", "status", "deployment/prometheus", around.READY)
        url = f"http://{around.address(NAMESPACE, 'prometheus')}:{PORT}"
        eventually(lambda: answers(url), "a node knows its Service")
        yield url
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait", around.READY)
        kubectl(f"-n={namespace}", "delete", "role,rolebinding", "prometheus", "--ignore-not-found")
