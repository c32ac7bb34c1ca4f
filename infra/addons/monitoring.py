"""kube-prometheus-stack: Prometheus with its operator, Alertmanager and Grafana."""

from __future__ import annotations

from collections.abc import Mapping

from infra import versions
from infra.addons.addon import Addon, Values, named
from infra.config import StackConfig
from infra.volumes import METRICS

RELEASE = "monitoring"


def _values(config: StackConfig, images: Mapping[str, str]) -> Values:
    storage = {"storageClassName": name} if (name := config.kubernetes.storage_class) else {}
    return {
        "fullnameOverride": RELEASE,
        "crds": {"enabled": False},
        "prometheusOperator": {
            "image": named(images["operator"]),
            "prometheusConfigReloader": {"image": named(images["reloader"])},
            "admissionWebhooks": {"patch": {"image": named(images["webhook"])}},
        },
        "prometheus": {
            "prometheusSpec": {
                "image": named(images["prometheus"]),
                # Monitors of every namespace count, not only those that this release made.
                "podMonitorSelectorNilUsesHelmValues": False,
                "serviceMonitorSelectorNilUsesHelmValues": False,
                "ruleSelectorNilUsesHelmValues": False,
                "retention": "31d",
                "retentionSize": "9GB",
                "storageSpec": {
                    "volumeClaimTemplate": {
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": METRICS}},
                            **storage,
                        }
                    }
                },
            }
        },
        "alertmanager": {"alertmanagerSpec": {"image": named(images["alertmanager"])}},
        "grafana": {
            "fullnameOverride": "grafana",
            "image": named(images["grafana"]),
            "sidecar": {
                "image": named(images["sidecar"]),
                "dashboards": {"enabled": True, "searchNamespace": "ALL"},
            },
        },
        "prometheus-node-exporter": {"image": named(images["nodeExporter"])},
        "kube-state-metrics": {"image": named(images["kubeStateMetrics"])},
    }


MONITORING = Addon(
    name="monitoring",
    namespace="monitoring",
    needed=lambda _: True,
    chart=lambda _: versions.MONITORING,
    values=_values,
    kinds=("podmonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com"),
    crds=versions.MONITORING_CRDS,
    pod_security="privileged",  # the node exporter reads the host
)


def urls(config: StackConfig) -> dict[str, str]:
    """Where its pages are, inside the cluster; empty when the stack did not install it."""
    if MONITORING.choice(config) != "install":
        return {}
    return {
        "prometheus": f"http://{RELEASE}-prometheus.{MONITORING.namespace}.svc:9090",
        "grafana": f"http://grafana.{MONITORING.namespace}.svc:80",
    }
