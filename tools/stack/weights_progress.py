"""The progress of weights that the replicas of a stack on Kubernetes fetch, by the metrics of its pods."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable

from infra.config import StackConfig
from infra.kubernetes.cluster import ClusterContext, ClusterUnusable
from infra.kubernetes.kube_api import KubeApi, connect
from infra.providers import fetched_weights
from serving.config import VllmModel
from tools.report import say

EVERY_S = 10.0
"""Time between two looks."""
TIMEOUT_S = 10
EXPORTER = 9464
WORKERS = "labelSelector=app.kubernetes.io%2Fcomponent%3Dworker&fieldSelector=status.phase%3DRunning"


class WeightsProgress:
    """Says how much of their weights the pods have fetched, whenever it is more."""

    def __init__(
        self,
        config: StackConfig,
        cluster: ClusterContext,
        read: Callable[[ClusterContext, str, str], str] | None = None,
    ) -> None:
        """`read` returns the metrics of a pod, by its namespace and name."""
        self._cluster = cluster
        self._namespace = config.kubernetes.namespace
        self._needed = any(isinstance(model, VllmModel) and model.fetched for model in config.models)
        self._read = read or pod_metrics
        self._due = 0.0
        self._said: dict[tuple[str, str], str] = {}

    def poll(self, api: KubeApi) -> None:
        """Asks the pods if it is time to."""
        if not self._needed or time.monotonic() < self._due:
            return
        for pod in api.items(f"/api/v1/namespaces/{self._namespace}/pods?{WORKERS}"):
            name = pod["metadata"]["name"]
            with contextlib.suppress(ClusterUnusable, OSError, ValueError, http.client.HTTPException):
                for model, text in fetched_weights.progress(self._read(self._cluster, self._namespace, name)).items():
                    if self._said.get((name, model)) != text:
                        self._said[name, model] = text
                        say(f"weights of {model} on pod {name}: {text}")
        self._due = time.monotonic() + EVERY_S


def pod_metrics(cluster: ClusterContext, namespace: str, pod: str) -> str:
    """Returns what the exporter of a pod says, through a port-forward, which no network policy prevents."""
    from kubernetes.client import CoreV1Api
    from kubernetes.stream import portforward

    # `portforward` changes the API client for good, so it has its own.
    with connect(cluster) as api:
        core = CoreV1Api(api.client)
        stream = portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(EXPORTER))
        with contextlib.closing(stream):
            connection = http.client.HTTPConnection(pod, EXPORTER, timeout=TIMEOUT_S)
            connection.sock = stream.socket(EXPORTER)
            connection.sock.settimeout(TIMEOUT_S)
            connection.request("GET", "/metrics", headers={"Connection": "close"})
            return connection.getresponse().read().decode(errors="replace")
