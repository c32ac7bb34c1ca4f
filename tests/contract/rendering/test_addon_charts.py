"""What the charts of add-ons make: the ports that a control plane must reach, and budgets that allow evictions."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra import versions
from infra.addons import ADDONS
from infra.addons.addon import Addon
from infra.addons.postgres import POSTGRES
from infra.config import StackConfig
from infra.targets.gcp.limits import OPEN_PORTS
from tests.rendering.addon_charts import has_chart, rendered, webhook_ports
from tests.rendering.budgets import blocking
from tests.rendering.chart import helm

__all__ = ["helm"]

Helm = Callable[..., subprocess.CompletedProcess[str]]

EVERYTHING = StackConfig.model_validate(
    {
        "target": "kubeconfig",
        "image": {"tag": "1"},
        "models": [{"name": "m", "engine": "kserve", "existing": "a/m"}],
        "assistants": [],
        "pools": [{"name": "serving", "gpus": 1}],
        "ingress": {"kind": "gateway", "host": "a.b", "tls": {"issuer": "i"}},
    }
)
"""A stack that needs every add-on."""

PINNED = {
    # --webhook-port={{ .Values.webhook.port }} in charts/cloudnative-pg/templates/deployment.yaml
    versions.POSTGRES.name: (
        "https://github.com/cloudnative-pg/charts/tree/cloudnative-pg-v0.26.1",
        lambda values: values["webhook"]["port"],
    ),
    # Its chart has no webhook: deployment/templates.
    versions.DCGM_EXPORTER.name: ("https://github.com/NVIDIA/dcgm-exporter/tree/4.4.1-4.6.0", lambda _: None),
    # prometheusOperator.tls.internalPort: 10250 "in order to work out-of-the-box in GKE private clusters"
    versions.MONITORING.name: (
        "https://github.com/prometheus-community/helm-charts/tree/kube-prometheus-stack-79.1.0",
        lambda values: values["prometheusOperator"].get("tls", {}).get("internalPort", 10250),
    ),
}
"""Charts that no Go module contains: their source, and the port that follows from our values."""


def named(addon: Addon) -> str:
    return addon.name


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory, helm: Helm) -> dict[str, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("charts")
    charts = [addon for addon in ADDONS if has_chart(addon.chart(EVERYTHING))]
    return {addon.name: rendered(addon, EVERYTHING, folder, helm) for addon in charts}


def test_every_addon_is_rendered_or_pinned(objects: dict[str, Any]) -> None:
    pinned = {addon.name for addon in ADDONS if addon.chart(EVERYTHING).name in PINNED}
    assert pinned | set(objects) == {addon.name for addon in ADDONS}
    assert {"CustomResourceDefinition", "ValidatingWebhookConfiguration"} <= {o["kind"] for o in objects["kserve"]}
    for addon in ADDONS:
        if addon.name in pinned:
            source, _ = PINNED[addon.chart(EVERYTHING).name]
            assert source.endswith(addon.chart(EVERYTHING).version), f"{addon.name}: read the facts of its version"


@pytest.mark.parametrize("addon", ADDONS, ids=named)
def test_an_addon_declares_the_ports_of_its_webhooks(addon: Addon, objects: dict[str, list[dict[str, Any]]]) -> None:
    if addon.name in objects:
        found = webhook_ports(objects[addon.name])
    else:
        _, port = PINNED[addon.chart(EVERYTHING).name]
        found = {port(addon.values(EVERYTHING, addon.images(EVERYTHING)))} - {None}
    assert found == set(addon.webhooks)


def test_the_database_comes_up_where_only_the_kubelets_port_is_open() -> None:
    """Every stack with a database of its own needs this webhook, which refuses everything while it is not reached."""
    assert set(POSTGRES.webhooks) <= OPEN_PORTS


def test_every_pod_of_an_addon_can_be_evicted(objects: dict[str, list[dict[str, Any]]]) -> None:
    assert {name: found for name, made in objects.items() if (found := blocking(made))} == {}


def test_a_budget_of_an_addon_would_be_found(tmp_path: Path, helm: Helm) -> None:
    addon = next(addon for addon in ADDONS if addon.name == "certificates")
    strict = {"podDisruptionBudget": {"enabled": True, "minAvailable": 1}}
    changed = replace(addon, values=lambda config, images: {**addon.values(config, images), **strict})
    assert blocking(rendered(changed, EVERYTHING, tmp_path, helm)) == ["certificates-cert-manager of 1"]


def test_no_webhook_listens_where_the_kubelet_does(objects: dict[str, list[dict[str, Any]]]) -> None:
    """In the network of the host, port 10250 is taken."""
    for name, made in objects.items():
        pods = [o["spec"]["template"]["spec"] for o in made if o["kind"] in ("Deployment", "StatefulSet")]
        assert not any(pod.get("hostNetwork") for pod in pods), name
