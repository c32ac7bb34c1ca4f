"""Prometheus in the cluster, with the configuration that follows from the stack's own PodMonitor."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from monitoring.podmonitor import scrape_configs
from tests.cluster import around
from tests.cluster.images import Image
from tools.cluster.kubectl import kubectl

NAMESPACE = around.MONITORING
OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
KINDS = ("podmonitors", "prometheusrules")
PORT = 9090


@contextmanager
def definitions() -> Iterator[None]:
    """The kinds of objects of prometheus-operator, without the operator."""
    done = subprocess.run(["go", "mod", "download", "-json", OPERATOR], capture_output=True, text=True, check=True)
    folder = Path(json.loads(done.stdout)["Dir"]) / "example/prometheus-operator-crd"
    files = [f"-f={folder / f'monitoring.coreos.com_{kind}.yaml'}" for kind in KINDS]
    kubectl("apply", "--server-side", *files)
    try:
        yield
    finally:
        kubectl("delete", "--wait", *files)


def monitors(namespace: str) -> list[dict[str, object]]:
    """The PodMonitors of a namespace, as the operator would read them."""
    return list(json.loads(kubectl(f"-n={namespace}", "get", "podmonitors", "-o=json"))["items"])


@contextmanager
def prometheus(image: Image, namespace: str) -> Iterator[str]:
    """A Prometheus that scrapes what the PodMonitors of `namespace` select; yields its URL."""
    found = monitors(namespace)
    assert found, f"there is no PodMonitor in {namespace}"
    config = {"scrape_configs": [entry for monitor in found for entry in scrape_configs(monitor)]}
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
        around.config_map(NAMESPACE, "prometheus", **{"prometheus.yml": yaml.safe_dump(config)}),
        around.workload("Deployment", NAMESPACE, "prometheus", container, pod),
        around.service(NAMESPACE, "prometheus", PORT),
    )
    try:
        kubectl(f"-n={NAMESPACE}", "rollout", "status", "deployment/prometheus", around.READY)
        yield f"http://{around.address(NAMESPACE, 'prometheus')}:{PORT}"
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait", around.READY)
        kubectl(f"-n={namespace}", "delete", "role,rolebinding", "prometheus", "--ignore-not-found")
