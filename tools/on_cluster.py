"""A stack's cluster, as the verbs of `tools.stack` see it: pods that are stuck, and a way in to the API."""

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
from infra.targets import pods
from infra.targets.cluster import ClusterContext, ClusterUnusable, read_kubeconfig
from infra.targets.kube_api import Document, KubeApi, connect
from tools.report import ToolError, say
from tools.workspace import Workspace

POLL_S = 2.0
PATIENCE = 3
"""Looks that a pod may take no step: much of what is wrong with new pods is gone a moment later."""
CHUNK = 65536
PORT = 8000
READY_S = 900.0
"""Longest wait for a pod that serves: one that restarts loads its models again."""


@dataclass(frozen=True)
class OnCluster:
    """A stack's configuration and the cluster that it names."""

    config: StackConfig
    cluster: ClusterContext

    @classmethod
    def of(cls, workspace: Workspace) -> OnCluster | None:
        """None where Pulumi itself will tell better what is wrong with the settings, and where there is no cluster yet.

        Raises `ToolError` when the kubeconfig cannot be used.
        """
        loaded = load(workspace.settings(), frozenset(), MOUNTED_SECRETS)
        if "kubernetes" in loaded.invalid:
            return None
        content = loaded.secrets[KUBECONFIG].get_secret_value() if KUBECONFIG in loaded.secrets else ""
        if loaded.config.target in PROVISIONED_TARGETS and not (
            content := str(workspace.outputs().get("kubeconfig", ""))
        ):
            return None  # the cluster is not there yet
        try:
            return cls(loaded.config, read_kubeconfig(loaded.config.kubernetes, content))
        except ClusterUnusable as e:
            raise ToolError(str(e.mistake)) from None

    @property
    def namespaces(self) -> list[str]:
        """Where the stack's pods run, those of its add-ons among them."""
        own = [a.namespace for a in ADDONS if a.choice(self.config) == "install"]
        return [self.config.kubernetes.namespace, *own]

    def stuck(self, api: KubeApi) -> dict[str, str]:
        """Why pods are stuck, by `namespace/pod`."""
        there = [pod for n in self.namespaces for pod in api.items(f"/api/v1/namespaces/{n}/pods")]
        found = {f"{p['metadata']['namespace']}/{p['metadata']['name']}": pods.stuck_reason(p) for p in there}
        return {name: why for name, why in found.items() if why}

    def wait_until_ready(self, patience_s: float = READY_S) -> None:
        """Waits for a pod behind the API's Service: an `up` that changes nothing waits for none, and one may restart.

        Raises `ToolError` when there is none after `patience_s`.
        """
        deadline = time.monotonic() + patience_s
        said = ""
        with connect(self.cluster) as api:
            while True:
                try:
                    _pod(api, self.config.kubernetes.namespace)
                    return
                except (ToolError, ClusterUnusable) as e:
                    why = str(e.mistake if isinstance(e, ClusterUnusable) else e)
                if time.monotonic() > deadline:
                    raise ToolError(f"{why}, {patience_s:.0f} s after all of the stack was there")
                if why != said:
                    said = why
                    say(f"waiting: {why}")
                time.sleep(POLL_S)

    @contextmanager
    def reachable(self) -> Iterator[str]:
        """A URL at which this host reaches the API as long as the context lasts."""
        url = chart.url(self.config)
        if self.config.ingress.host:
            yield url
            return
        with self.forwarded(0) as port:
            yield f"http://127.0.0.1:{port}"

    @contextmanager
    def forwarded(self, port: int) -> Iterator[int]:
        """Forwards a port of the loopback interface (0: a free one) to the API; yields the port."""
        with socket.create_server(("127.0.0.1", port)) as server, connect(self.cluster) as api:
            _pod(api, self.config.kubernetes.namespace)  # says early that there is none
            thread = threading.Thread(target=self._serve, args=(server,), daemon=True)
            thread.start()
            yield int(server.getsockname()[1])

    def _serve(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the server is closed: this is the end
            while True:
                client, _ = server.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        from kubernetes.client import CoreV1Api
        from kubernetes.stream import portforward

        namespace = self.config.kubernetes.namespace
        try:
            # The stream takes the client over: each connection has one of its own.
            with client, connect(self.cluster) as api:
                core = CoreV1Api(api.client)
                stream = portforward(
                    core.connect_get_namespaced_pod_portforward, _pod(api, namespace), namespace, ports=str(PORT)
                )
                with contextlib.closing(stream):
                    _relay(client, stream.socket(PORT))
        except (ToolError, ClusterUnusable, OSError, ValueError) as e:
            say(f"port-forward: {e}")


def _relay(one: socket.socket, other: Any) -> None:
    """Carries bytes both ways until one side ends."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select():
                source: Any = key.fileobj
                if not (data := source.recv(CHUNK)):
                    return
                key.data.sendall(data)


def _pod(api: KubeApi, namespace: str) -> str:
    """A pod that the Service leads to."""
    service = f"{chart.RELEASE}-serve-svc"
    slices = api.items(
        f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        f"?labelSelector=kubernetes.io%2Fservice-name%3D{service}"
    )
    for endpoint in (e for s in slices for e in s.get("endpoints") or ()):
        if (endpoint.get("conditions") or {}).get("ready") and (endpoint.get("targetRef") or {}).get("kind") == "Pod":
            return str(endpoint["targetRef"]["name"])
    raise ToolError(f"no pod behind Service {namespace}/{service} is ready")


class Watch:
    """Says which pods are stuck, each once, while something waits for them."""

    def __init__(self, stack: OnCluster) -> None:
        self._stack = stack
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._said: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        seen: dict[str, int] = {}
        with contextlib.suppress(ClusterUnusable), connect(self._stack.cluster) as api:
            while not self._end.wait(POLL_S):
                found = self._look(api)
                seen = {name: seen.get(name, 0) + 1 for name in found}
                for name, why in found.items():
                    if seen[name] >= PATIENCE or why.startswith("cannot pull"):
                        self._say(name, why)

    def _look(self, api: KubeApi) -> Document:
        try:
            return self._stack.stuck(api)
        except ClusterUnusable:
            return {}  # a moment without an answer; Pulumi says it when it lasts

    def _say(self, name: str, why: str) -> None:
        namespace, _, pod = name.partition("/")
        if (namespace, why) not in self._said:
            self._said.add((namespace, why))
            say(f"pod {pod} in {namespace}: {why}")
