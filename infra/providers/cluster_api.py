"""The API of the cluster that a resource's inputs name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infra.cluster_config import Kubernetes
from infra.kubernetes import cluster
from infra.kubernetes.kube_api import KubeApi, connect
from infra.resources.problem import Problem
from infra.resources.resource import Values


@contextmanager
def cluster_api(values: Values) -> Iterator[KubeApi]:
    """Connects by the inputs `kubeconfig` (path, or empty), `content` (of a kubeconfig, or empty) and `context`."""
    settings = Kubernetes(kubeconfig=values["kubeconfig"], context=values["context"])
    try:
        with connect(cluster.read_kubeconfig(settings, values["content"])) as api:
            yield api
    except cluster.ClusterUnusable as e:
        raise Problem(str(e.mistake)) from None
