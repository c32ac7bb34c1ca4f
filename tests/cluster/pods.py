"""Pods that answer with their name, and namespaces for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tools.cluster.images import TOOLS
from tools.cluster.kubectl import kubectl as run_kubectl

Kubectl = Callable[..., str]

PORT = 8080
LISTEN = ("socat", "-t20", f"TCP-LISTEN:{PORT},fork,reuseaddr")
"""-t: once one side has no more to send, socat by itself waits half a second for the other."""


def pod(name: str, node: str, **spec: Any) -> dict[str, Any]:
    """A pod on that node that answers every connection to PORT with its name; `spec` overrides the container's."""
    container = {
        "name": "main",
        "image": TOOLS,
        "imagePullPolicy": "Never",
        "command": [*LISTEN, "SYSTEM:hostname"],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container | spec]},
    }


def start(kubectl: Kubectl, namespace: str, *objects: dict[str, Any], until: str = "condition=Ready") -> None:
    """Makes the objects and waits for the pods among them."""
    kubectl(
        f"-n={namespace}", "apply", "-f=-", input=json.dumps({"kind": "List", "apiVersion": "v1", "items": objects})
    )
    if pods := [f"pod/{o['metadata']['name']}" for o in objects if o["kind"] == "Pod"]:
        kubectl(f"-n={namespace}", "wait", f"--for={until}", "--timeout=60s", *pods)


@contextmanager
def new_namespace(name: str) -> Iterator[str]:
    """A namespace whose end is not waited for."""
    run_kubectl("create", "namespace", name)
    try:
        run_kubectl(f"-n={name}", "wait", "--for=create", "serviceaccount/default", "--timeout=60s")  # before it no pod
        yield name
    finally:
        run_kubectl("delete", "namespace", name, "--wait=false")
