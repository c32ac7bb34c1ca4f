"""The API of the cluster that a resource's inputs name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infra.cluster_config import Kubernetes
from infra.providers.problem import Problem
from infra.providers.resource import Values
from infra.targets import cluster
from infra.targets.kube_api import KubeApi, connect


@contextmanager
def cluster_api(values: Values) -> Iterator[KubeApi]:
    """Connects by the inputs `kubeconfig` (path, or empty), `content` (of a kubeconfig, or empty) and `context`."""
    settings = Kubernetes(kubeconfig=values["kubeconfig"], context=values["context"])
    try:
        with connect(cluster.read_kubeconfig(settings, values["content"])) as api:
            yield api
    except cluster.ClusterUnusable as e:
        raise Problem(str(e.mistake)) from None
