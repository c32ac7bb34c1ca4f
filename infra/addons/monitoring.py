"""kube-prometheus-stack: Prometheus, its operator, Alertmanager and Grafana."""

from __future__ import annotations

from collections.abc import Mapping

from infra import versions
from infra.addons.addon import Addon, AddonPod, Values, registry_image
from infra.config import StackConfig
from infra.nodes.resources import Resources
from infra.volumes import METRICS
from monitoring import inhibitions
from serving.config import PrometheusServer

RELEASE = "monitoring"
_KUBERNETES_INHIBITIONS = (
    {
        "source_matchers": ["severity = critical"],
        "target_matchers": ["severity =~ warning|info"],
        "equal": ["namespace", "alertname"],
    },
    {
        "source_matchers": ["severity = warning"],
        "target_matchers": ["severity = info"],
        "equal": ["namespace", "alertname"],
    },
    {
        "source_matchers": ["alertname = InfoInhibitor"],
        "target_matchers": ["severity = info"],
        "equal": ["namespace"],
    },
    {"target_matchers": ["alertname = InfoInhibitor"]},
)
"""The chart's own, for its alerts about Kubernetes: Helm replaces a list of a chart's values as a whole."""


def _values(config: StackConfig, images: Mapping[str, str]) -> Values:
    # A managed control plane publishes no metrics of these, so that their alerts would always fire; kubeadm binds them
    # to the host. https://github.com/prometheus-community/helm-charts/issues/4106
    unreachable = ["kubeControllerManager", "kubeEtcd", "kubeProxy", "kubeScheduler"]
    if not _has_coredns(config):
        unreachable.append("coreDns")
    storage = {"storageClassName": name} if (name := config.kubernetes.storage_class) else {}
    return {
        "fullnameOverride": RELEASE,
        "crds": {"enabled": False},
        **{component: {"enabled": False} for component in unreachable},
        "prometheusOperator": {
            "image": registry_image(images["operator"]),
            "prometheusConfigReloader": {"image": registry_image(images["reloader"])},
            "admissionWebhooks": {"patch": {"image": registry_image(images["webhook"])}},
        },
        "prometheus": {
            "prometheusSpec": {
                "image": registry_image(images["prometheus"]),
                # Select the monitors and rules of all namespaces, not only those of this release.
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
        "alertmanager": {
            "alertmanagerSpec": {"image": registry_image(images["alertmanager"])},
            # Receivers and routes are the operator's: the chart's own notify nobody.
            "config": {"inhibit_rules": [*_KUBERNETES_INHIBITIONS, *inhibitions.document()["inhibit_rules"]]},
        },
        "grafana": {
            "fullnameOverride": "grafana",
            "image": registry_image(images["grafana"]),
            "sidecar": {
                "image": registry_image(images["sidecar"]),
                "dashboards": {"enabled": True, "searchNamespace": "ALL"},
            },
        },
        "prometheus-node-exporter": {"image": registry_image(images["nodeExporter"])},
        "kube-state-metrics": {"image": registry_image(images["kubeStateMetrics"])},
    }


def _has_coredns(config: StackConfig) -> bool:
    """Returns whether pods of CoreDNS may answer DNS requests, whose metrics the chart expects at port 9153.

    GKE has kube-dns, with the labels that the chart selects, so that its alert for missing targets would always fire:
    https://docs.cloud.google.com/kubernetes-engine/docs/how-to/kube-dns. In EKS Auto Mode every node
    answers for itself (`infra.targets.aws.auto_mode.DNS`).
    """
    return config.target != "gcp" and not (config.target == "aws" and config.aws.mode == "auto")


MONITORING = Addon(
    name="monitoring",
    namespace="monitoring",
    needed=lambda _: True,
    chart=lambda _: versions.MONITORING,
    values=_values,
    kinds=("podmonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com"),
    crds=versions.MONITORING_CRDS,
    # Its operator sets this; the chart's other pods request nothing.
    pods=lambda _: (AddonPod("Alertmanager", Resources.parse(memory="200Mi")),),
    pod_security="privileged",  # the node exporter reads the host
    webhooks=(10250,),
)


def urls(config: StackConfig) -> dict[str, str]:
    """Returns the URLs of Prometheus and Grafana inside the cluster; empty if the stack does not install them."""
    if MONITORING.choice(config) != "install":
        return {}
    return {
        "prometheus": f"http://{RELEASE}-prometheus.{MONITORING.namespace}.svc:9090",
        "grafana": f"http://grafana.{MONITORING.namespace}.svc:80",
    }


def prometheus(config: StackConfig) -> PrometheusServer:
    """Returns the Prometheus that the gateway asks: the one that is set, or else the one that the stack installs.

    It has the series of the whole cluster, of which only those of the stack's namespace are shown.
    """
    return PrometheusServer(
        url=config.prometheus.url or urls(config).get("prometheus", ""),
        namespace=config.prometheus.namespace or config.kubernetes.namespace,
    )
