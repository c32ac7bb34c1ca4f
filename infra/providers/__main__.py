"""Starts the provider with its resource types. Type tokens are part of every stack's state and must not change."""

from infra.providers.inference_endpoint import InferenceEndpointProvider
from infra.providers.knowledge import KnowledgeProvider
from infra.providers.kubernetes_cluster import KubernetesClusterProvider
from infra.providers.kubernetes_node import KubernetesNodeProvider
from infra.providers.machine import MachineProvider
from infra.providers.process import ProcessProvider
from infra.providers.random_secret import RandomSecretProvider
from infra.providers.ray_cluster_upgrade import RayClusterUpgradeProvider
from infra.providers.ray_head import RayHead
from infra.providers.secret import SecretProvider
from infra.providers.serve_application import ServeApplicationProvider
from infra.providers.server import main

KINDS = {
    "headrace:index:Secret": SecretProvider(),
    "headrace:index:RandomSecret": RandomSecretProvider(),
    "headrace:index:Process": ProcessProvider(),
    "headrace:index:RayHead": RayHead(),
    "headrace:index:ServeApplication": ServeApplicationProvider(),
    "headrace:index:Knowledge": KnowledgeProvider(),
    "headrace:index:InferenceEndpoint": InferenceEndpointProvider(),
    "headrace:index:RayClusterUpgrade": RayClusterUpgradeProvider(),
    "headrace:index:Machine": MachineProvider(),
    "headrace:index:KubernetesNode": KubernetesNodeProvider(),
    "headrace:index:KubernetesCluster": KubernetesClusterProvider(),
}

if __name__ == "__main__":
    main(KINDS)
