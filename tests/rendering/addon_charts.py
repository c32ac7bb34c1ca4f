"""The charts of platform add-ons that the Go modules of their projects contain, rendered with our values."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from infra import versions
from infra.addons.addon import Addon
from infra.config import StackConfig
from infra.versions import Chart
from tests.rendering.kuberay_chart import go_module_folder, pack_kuberay

Helm = Callable[..., subprocess.CompletedProcess[str]]
Object = dict[str, Any]

CERT_MANAGER = f"github.com/cert-manager/cert-manager@{versions.CERTIFICATES.version}"
ENVOY_GATEWAY = f"github.com/envoyproxy/gateway@{versions.GATEWAY.version}"
KSERVE = f"github.com/kserve/kserve@{versions.KSERVE.version}"
DEVICE_PLUGIN = f"github.com/NVIDIA/k8s-device-plugin@v{versions.GPU_DEVICE_PLUGIN.version}"
MODULES = (CERT_MANAGER, ENVOY_GATEWAY, KSERVE, DEVICE_PLUGIN)

FOLDERS = {
    versions.CERTIFICATES.name: (CERT_MANAGER, "deploy/charts/cert-manager"),
    versions.GATEWAY.name: (ENVOY_GATEWAY, "charts/gateway-helm"),
    versions.KSERVE.name: (KSERVE, "charts/kserve-resources"),
    versions.KSERVE_CRDS.name: (KSERVE, "charts/kserve-crd"),
    versions.GPU_DEVICE_PLUGIN.name: (DEVICE_PLUGIN, "deployments/helm/nvidia-device-plugin"),
}

TEMPLATES = {"Chart.template.yaml": "Chart.yaml", "values.tmpl.yaml": "values.yaml"}
"""Files that a project completes at its releases."""


def has_chart(chart: Chart) -> bool:
    """Returns whether a Go module contains the chart."""
    return chart.name in {versions.KUBERAY.name, *FOLDERS}


def rendered(addon: Addon, config: StackConfig, folder: Path, helm: Helm) -> list[Object]:
    """Renders an add-on's chart and the one of its CRDs, with the values of a stack, in a scratch folder."""
    charts = [(addon.chart(config), addon.values(config, addon.images(config)))]
    if isinstance(addon.crds, Chart) and has_chart(addon.crds):
        charts.append((addon.crds, dict(addon.crd_values)))
    return [o for chart, values in charts for o in _render(addon, chart, values, folder, helm)]


def _render(addon: Addon, chart: Chart, values: Object, folder: Path, helm: Helm) -> Iterator[Object]:
    where = ("--namespace", addon.namespace, "--kube-version", "1.35.0", "--include-crds", "--values", "-")
    done = helm("template", addon.name, str(_chart(chart, folder)), *where, stdin=json.dumps(values))
    assert done.returncode == 0, done.stderr
    yield from (o for o in yaml.load_all(done.stdout, yaml.CSafeLoader) if o)


def _chart(chart: Chart, folder: Path) -> Path:
    if chart.name == versions.KUBERAY.name:
        return pack_kuberay(folder / chart.name)
    module, path = FOLDERS[chart.name]
    copy = folder / chart.name
    shutil.copytree(go_module_folder(module) / path, copy, copy_function=shutil.copyfile)
    for template, file in TEMPLATES.items():
        if (copy / template).exists():
            text = re.sub(r"\$\{\w+\}", "1", (copy / template).read_text())
            (copy / file).write_text(text.replace("{{version}}", chart.version))
    return copy


def webhook_ports(objects: Iterable[Object]) -> set[int]:
    """Returns the ports of pods that the API server calls, for webhooks and for APIs that pods serve.

    Raises StopIteration for a webhook without its Service, and KeyError for a named port that no container has.
    """
    known = list(objects)
    return {_pod_port(service, known) for o in known for service in _called(o)}


def _called(given: Object) -> Iterator[Object]:
    """Yields references to Services by which the API server calls pods."""
    kind = given["kind"]
    clients = []
    if kind.endswith("WebhookConfiguration"):
        clients = [webhook["clientConfig"] for webhook in given["webhooks"]]
    elif kind == "CustomResourceDefinition":
        conversion = given["spec"].get("conversion", {})
        clients = [conversion["webhook"]["clientConfig"]] if conversion.get("strategy") == "Webhook" else []
    elif kind == "APIService":
        clients = [given["spec"]]
    yield from (client["service"] for client in clients if client.get("service"))


def _pod_port(reference: Object, objects: list[Object]) -> int:
    service = next(o for o in objects if o["kind"] == "Service" and o["metadata"]["name"] == reference["name"])
    [port] = [p for p in service["spec"]["ports"] if p["port"] == reference.get("port", 443)]
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    wanted = service["spec"]["selector"].items()
    pods = [o["spec"]["template"] for o in objects if o["kind"] in ("Deployment", "DaemonSet", "StatefulSet")]
    named = {
        p["name"]: p["containerPort"]
        for pod in pods
        if wanted <= pod["metadata"]["labels"].items()
        for container in pod["spec"]["containers"]
        for p in container.get("ports", ())
        if "name" in p
    }
    return int(named[target])
