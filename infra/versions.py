"""The versions of every chart, manifest and image of other projects that the stack installs.

Programs are in `infra.programs`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Chart:
    """A Helm chart: `source` is `repo` (an index at the URL `location`), `oci` (a reference) or `path` (a folder).

    `images` are all images that its pods pull, by the names that the add-on uses; a mirror needs exactly these.
    """

    name: str
    version: str
    source: str
    location: str
    images: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Manifests:
    """Files of Kubernetes objects below the URL `location`."""

    version: str
    location: str
    files: tuple[str, ...]


KUBERNETES_AT_LEAST = (1, 34)
"""The oldest supported version of Kubernetes."""
OLDEST_NODES = 3
"""Minor versions that a kubelet or kube-proxy may be older than its control plane."""
IMAGE_VOLUMES_SINCE = (1, 35)
"""The version of Kubernetes from which pods can mount the files of an image by default."""

KUBERAY = Chart(
    name="kuberay-operator",
    version="1.5.0",
    source="repo",
    location="https://ray-project.github.io/kuberay-helm/",
    images=MappingProxyType({"operator": "quay.io/kuberay/operator:v1.5.0"}),
)

KUBERAY_CRDS = Manifests(
    version="1.5.0",
    location="https://raw.githubusercontent.com/ray-project/kuberay/v1.5.0/ray-operator/config/crd/bases",
    files=("ray.io_rayclusters.yaml", "ray.io_rayjobs.yaml", "ray.io_rayservices.yaml"),
)

GPU_OPERATOR = Chart(
    name="gpu-operator",
    version="v25.10.0",
    source="repo",
    location="https://helm.ngc.nvidia.com/nvidia",
    images=MappingProxyType(
        {
            "operator": "nvcr.io/nvidia/gpu-operator:v25.10.0",
            "driver": "nvcr.io/nvidia/driver:580.95.05",
            "toolkit": "nvcr.io/nvidia/k8s/container-toolkit:v1.18.0",
            "devicePlugin": "nvcr.io/nvidia/k8s-device-plugin:v0.18.0",
            "dcgmExporter": "nvcr.io/nvidia/k8s/dcgm-exporter:4.4.1-4.6.0-distroless",
            # https://github.com/NVIDIA/gpu-operator/blob/v25.10.0/deployments/gpu-operator/values.yaml
            "driverManager": "nvcr.io/nvidia/cloud-native/k8s-driver-manager:v0.9.0",
            "migManager": "nvcr.io/nvidia/cloud-native/k8s-mig-manager:v0.13.0",
            "cuda": "nvcr.io/nvidia/cuda:13.0.1-base-ubi9",
            "nfd": "registry.k8s.io/nfd/node-feature-discovery:v0.18.2",
        }
    ),
)

GPU_DEVICE_PLUGIN = Chart(
    name="nvidia-device-plugin",
    version="0.18.0",
    source="repo",
    location="https://nvidia.github.io/k8s-device-plugin",
    images=MappingProxyType(
        {
            "plugin": "nvcr.io/nvidia/k8s-device-plugin:v0.18.0",
            # https://github.com/NVIDIA/k8s-device-plugin/tree/v0.18.0/deployments/helm/nvidia-device-plugin/charts
            "nfd": "registry.k8s.io/nfd/node-feature-discovery:v0.17.3",
        }
    ),
)

DCGM_EXPORTER = Chart(
    name="dcgm-exporter",
    version="4.6.0",
    source="repo",
    location="https://nvidia.github.io/dcgm-exporter/helm-charts",
    images=MappingProxyType({"exporter": "nvcr.io/nvidia/k8s/dcgm-exporter:4.4.1-4.6.0-distroless"}),
)

MONITORING = Chart(
    name="kube-prometheus-stack",
    version="79.1.0",
    source="repo",
    location="https://prometheus-community.github.io/helm-charts",
    images=MappingProxyType(
        {
            "operator": "quay.io/prometheus-operator/prometheus-operator:v0.86.1",
            "reloader": "quay.io/prometheus-operator/prometheus-config-reloader:v0.86.1",
            "webhook": "registry.k8s.io/ingress-nginx/kube-webhook-certgen:v1.6.3",
            "prometheus": "quay.io/prometheus/prometheus:v3.7.3",
            "alertmanager": "quay.io/prometheus/alertmanager:v0.28.1",
            "grafana": "docker.io/grafana/grafana:12.2.1",
            "sidecar": "quay.io/kiwigrid/k8s-sidecar:1.30.10",
            "nodeExporter": "quay.io/prometheus/node-exporter:v1.10.2",
            "kubeStateMetrics": "registry.k8s.io/kube-state-metrics/kube-state-metrics:v2.17.0",
        }
    ),
)

MONITORING_CRDS = Chart(
    name="prometheus-operator-crds",
    version="24.0.1",
    source="repo",
    location="https://prometheus-community.github.io/helm-charts",
)

CERTIFICATES = Chart(
    name="cert-manager",
    version="v1.19.1",
    source="oci",
    location="oci://quay.io/jetstack/charts/cert-manager",
    images=MappingProxyType(
        {
            "controller": "quay.io/jetstack/cert-manager-controller:v1.19.1",
            "webhook": "quay.io/jetstack/cert-manager-webhook:v1.19.1",
            "cainjector": "quay.io/jetstack/cert-manager-cainjector:v1.19.1",
            "acmesolver": "quay.io/jetstack/cert-manager-acmesolver:v1.19.1",
            "startupapicheck": "quay.io/jetstack/cert-manager-startupapicheck:v1.19.1",
        }
    ),
)

GATEWAY = Chart(
    name="gateway-helm",
    version="v1.6.0",
    source="oci",
    location="oci://docker.io/envoyproxy/gateway-helm",
    images=MappingProxyType(
        {
            "gateway": "docker.io/envoyproxy/gateway:v1.6.0",
            "ratelimit": "docker.io/envoyproxy/ratelimit:99d85510",
            "proxy": "docker.io/envoyproxy/envoy:distroless-v1.36.2",
        }
    ),
)

GATEWAY_CRDS = Chart(
    name="gateway-crds-helm",
    version="v1.6.0",
    source="oci",
    location="oci://docker.io/envoyproxy/gateway-crds-helm",
)

POSTGRES = Chart(
    name="cloudnative-pg",
    version="0.26.1",
    source="repo",
    location="https://cloudnative-pg.github.io/charts",
    images=MappingProxyType(
        {
            "operator": "ghcr.io/cloudnative-pg/cloudnative-pg:1.27.1",
            "database": "ghcr.io/cloudnative-pg/postgresql:17.6",
        }
    ),
)

KSERVE = Chart(
    name="kserve-resources",
    version="v0.20.0",
    source="oci",
    location="oci://ghcr.io/kserve/charts/kserve-resources",
    images=MappingProxyType(
        {
            "controller": "docker.io/kserve/kserve-controller:v0.20.0",
            "proxy": "quay.io/brancz/kube-rbac-proxy:v0.18.0",
            "storage": "docker.io/kserve/storage-initializer:v0.20.0",
        }
    ),
)

KSERVE_CRDS = Chart(
    name="kserve-crd", version="v0.20.0", source="oci", location="oci://ghcr.io/kserve/charts/kserve-crd"
)

KSERVE_RUNTIMES: Mapping[str, str] = MappingProxyType(
    {
        "vllm": "docker.io/vllm/vllm-openai:v0.33.0",
        "huggingface": "docker.io/kserve/huggingfaceserver:v0.20.0",
    }
)
"""Images of the KServe runtimes other than the serving image."""
