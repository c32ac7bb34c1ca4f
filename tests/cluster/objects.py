"""What a cluster holds, to compare before and after; and kinds of objects that an operator would bring."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.cluster.kubectl import kubectl

# What Kubernetes itself writes down about what went on, and forgets by itself.
FLEETING = {
    "endpoints",
    "endpointslices.discovery.k8s.io",
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "pods",  # those of Kubernetes' own controllers, whose names change; ours end with what made them
}


def objects() -> set[str]:
    """Every object of every kind in every namespace, as `namespace kind/name`."""
    listed = kubectl("api-resources", "--verbs=list", "--output=name", "--cached=false").split()
    kinds = sorted(set(listed) - FLEETING)
    columns = "-o=custom-columns=N:.metadata.namespace,K:.kind,I:.metadata.name"
    rows = kubectl("get", ",".join(kinds), "--all-namespaces", "--no-headers", "--ignore-not-found", columns)
    return {" ".join(row.split()) for row in rows.splitlines()}


@contextmanager
def definitions(module: str, *files: str) -> Iterator[None]:
    """The CRDs in files of a Go module (`path@version`); they go at the end, with what is of their kinds."""
    done = subprocess.run(["go", "mod", "download", "-json", module], capture_output=True, text=True, check=True)
    folder = Path(json.loads(done.stdout)["Dir"])
    given = [f"-f={folder / file}" for file in files]
    kubectl("apply", "--server-side", *given)
    try:
        kubectl("wait", "--for=condition=Established", "--timeout=60s", *given)
        yield
    finally:
        kubectl("delete", "--wait", *given)
