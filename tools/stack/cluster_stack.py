"""A stack on Kubernetes: which of its pods are stuck, when its API is ready, and a port-forward to it."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from infra import chart
from infra.addons import ADDONS
from infra.cluster_config import MOUNTED_SECRETS
from infra.config import PROVISIONED_TARGETS, StackConfig
from infra.config_loader import KUBECONFIG, load
from infra.kubernetes import pods
from infra.kubernetes.cluster import ClusterContext, ClusterUnusable, read_kubeconfig
from infra.kubernetes.kube_api import Document, KubeApi, connect
from tools.report import ToolError, say
from tools.stack.weights_progress import WeightsProgress
from tools.stack.workspace import Workspace

POLL_S = 2.0
PATIENCE = 3
"""Polls in a row that find a pod stuck before it is reported: most problems of new pods pass within seconds."""
CHUNK = 65536
PORT = 8000
READY_S = 900.0
"""Longest wait for a ready pod: a pod that restarts loads its models again."""


@dataclass(frozen=True)
class ClusterStack:
    """A stack's configuration, and the cluster that it runs on."""

    config: StackConfig
    cluster: ClusterContext

    @classmethod
    def from_workspace(cls, workspace: Workspace) -> ClusterStack | None:
        """Reads the stack's settings and kubeconfig.

        Returns None when the cluster does not exist yet, and when the settings cannot be read: then Pulumi reports
        all mistakes in them. Raises `ToolError` when the kubeconfig is unusable.
        """
        loaded = load(workspace.settings(), frozenset(), MOUNTED_SECRETS)
        if "kubernetes" in loaded.invalid:
            return None
        content = loaded.secrets[KUBECONFIG].get_secret_value() if KUBECONFIG in loaded.secrets else ""
        if loaded.config.target in PROVISIONED_TARGETS and not (
            content := str(workspace.outputs().get("kubeconfig", ""))
        ):
            return None  # the cluster does not exist yet
        try:
            return cls(loaded.config, read_kubeconfig(loaded.config.kubernetes, content))
        except ClusterUnusable as e:
            raise ToolError(str(e.mistake)) from None

    @property
    def namespaces(self) -> list[str]:
        """The namespaces of the stack's pods, those of its add-ons included."""
        addons = [a.namespace for a in ADDONS if a.choice(self.config) == "install"]
        return [self.config.kubernetes.namespace, *addons]

    def stuck_pods(self, api: KubeApi) -> dict[str, str]:
        """Returns why pods are stuck, by `namespace/pod`."""
        found = [pod for n in self.namespaces for pod in api.items(f"/api/v1/namespaces/{n}/pods")]
        reasons = {f"{p['metadata']['namespace']}/{p['metadata']['name']}": pods.stuck_reason(p) for p in found}
        return {name: reason for name, reason in reasons.items() if reason}

    def wait_until_ready(self, patience_s: float = READY_S) -> None:
        """Waits for a ready pod behind the API's Service: `up` does not wait when it changes nothing, and pods restart.

        Raises `ToolError` when no pod is ready after `patience_s`.
        """
        deadline = time.monotonic() + patience_s
        reported = ""
        with connect(self.cluster) as api:
            while True:
                try:
                    _ready_pod(api, self.config.kubernetes.namespace)
                    return
                except (ToolError, ClusterUnusable) as e:
                    reason = str(e.mistake if isinstance(e, ClusterUnusable) else e)
                if time.monotonic() > deadline:
                    raise ToolError(f"{reason}, {patience_s:.0f} s after `up` had made all of the stack's objects")
                if reason != reported:
                    reported = reason
                    say(f"waiting: {reason}")
                time.sleep(POLL_S)

    @contextmanager
    def api_url(self) -> Iterator[str]:
        """Yields a URL of the API for this host: its Ingress, else a port-forward that ends with the context."""
        url = chart.url(self.config)
        if self.config.ingress.host:
            yield url
            return
        with self.port_forward(0) as port:
            yield f"http://127.0.0.1:{port}"

    @contextmanager
    def port_forward(self, port: int) -> Iterator[int]:
        """Forwards a port of the loopback interface (0: a free one) to the API; yields the port.

        Raises `ToolError` when no pod of the API is ready.
        """
        with socket.create_server(("127.0.0.1", port)) as server, connect(self.cluster) as api:
            _ready_pod(api, self.config.kubernetes.namespace)
            thread = threading.Thread(target=self._serve, args=(server,), daemon=True)
            thread.start()
            yield int(server.getsockname()[1])

    def _serve(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # `accept` fails once the server is closed
            while True:
                client, _ = server.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        from kubernetes.client import CoreV1Api
        from kubernetes.stream import portforward

        namespace = self.config.kubernetes.namespace
        try:
            # `portforward` changes the API client for good, so each connection has its own.
            with client, connect(self.cluster) as api:
                core = CoreV1Api(api.client)
                stream = portforward(
                    core.connect_get_namespaced_pod_portforward, _ready_pod(api, namespace), namespace, ports=str(PORT)
                )
                with contextlib.closing(stream):
                    _relay(client, stream.socket(PORT))
        except (ToolError, ClusterUnusable, OSError, ValueError) as e:
            say(f"port-forward: {e}")


def _relay(one: socket.socket, other: Any) -> None:
    """Copies bytes in both directions until one side closes."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select():
                source: Any = key.fileobj
                if not (data := source.recv(CHUNK)):
                    return
                key.data.sendall(data)


def _ready_pod(api: KubeApi, namespace: str) -> str:
    """Returns the name of a ready pod behind the API's Service; raises `ToolError` when there is none."""
    service = f"{chart.RELEASE}-serve-svc"
    slices = api.items(
        f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        f"?labelSelector=kubernetes.io%2Fservice-name%3D{service}"
    )
    for endpoint in (e for s in slices for e in s.get("endpoints") or ()):
        if (endpoint.get("conditions") or {}).get("ready") and (endpoint.get("targetRef") or {}).get("kind") == "Pod":
            return str(endpoint["targetRef"]["name"])
    raise ToolError(f"no pod behind Service {namespace}/{service} is ready")


class StuckPodWatch:
    """Reports stuck pods, each reason once per namespace, and the progress of weights that pods fetch.

    It does so from a thread that runs as long as the context.
    """

    def __init__(self, stack: ClusterStack) -> None:
        self._stack = stack
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._reported: set[tuple[str, str]] = set()
        self._weights = WeightsProgress(stack.config, stack.cluster)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        polls: dict[str, int] = {}
        with contextlib.suppress(ClusterUnusable), connect(self._stack.cluster) as api:
            while not self._end.wait(POLL_S):
                stuck = self._poll(api)
                polls = {name: polls.get(name, 0) + 1 for name in stuck}
                for name, reason in stuck.items():
                    if polls[name] >= PATIENCE or reason.startswith("cannot pull"):
                        self._report(name, reason)
                with contextlib.suppress(ClusterUnusable):
                    self._weights.poll(api)

    def _poll(self, api: KubeApi) -> Document:
        try:
            return self._stack.stuck_pods(api)
        except ClusterUnusable:
            return {}  # the API server did not answer; Pulumi reports it when that lasts

    def _report(self, name: str, reason: str) -> None:
        namespace, _, pod = name.partition("/")
        if (namespace, reason) not in self._reported:
            self._reported.add((namespace, reason))
            say(f"pod {pod} in {namespace}: {reason}")
