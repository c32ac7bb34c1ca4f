"""The kinds of resources that this provider serves. The tokens are part of every stack's state: for ever."""

from infra.providers.inference_endpoint import InferenceEndpoint
from infra.providers.knowledge import Knowledge
from infra.providers.kubernetes_cluster import KubernetesCluster
from infra.providers.kubernetes_node import KubernetesNode
from infra.providers.machine import Machine
from infra.providers.process import Process
from infra.providers.random_secret import RandomSecret
from infra.providers.ray_head import RayHead
from infra.providers.secret import Secret
from infra.providers.serve_application import ServeApplication
from infra.providers.server import main

KINDS = {
    "headrace:index:Secret": Secret(),
    "headrace:index:RandomSecret": RandomSecret(),
    "headrace:index:Process": Process(),
    "headrace:index:RayHead": RayHead(),
    "headrace:index:ServeApplication": ServeApplication(),
    "headrace:index:Knowledge": Knowledge(),
    "headrace:index:InferenceEndpoint": InferenceEndpoint(),
    "headrace:index:Machine": Machine(),
    "headrace:index:KubernetesNode": KubernetesNode(),
    "headrace:index:KubernetesCluster": KubernetesCluster(),
}

if __name__ == "__main__":
    main(KINDS)
