"""The cluster that a kubeconfig names: read from the file alone, nothing is asked."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infra.cluster_config import Kubernetes
from infra.mistakes import Mistake
from infra.targets.layout import CHECKOUT

KUBECONFIG_KEY = "kubernetes.kubeconfig"


class ClusterUnusable(Exception):
    """The kubeconfig cannot be used; `mistake` says why."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(str(mistake))
        self.mistake = mistake


@dataclass(frozen=True)
class ClusterContext:
    """A context of a kubeconfig, with credentials that are never shown."""

    context: str
    server: str
    identifier: str
    """Stays the same while the cluster does: of its certificate authority, which outlives addresses."""
    document: dict[str, Any] = field(repr=False)
    path: Path | None = None
    """Where it was read; None when the configuration holds it."""
    content: str = field(default="", repr=False)


def read_kubeconfig(settings: Kubernetes, content: str = "") -> ClusterContext:
    """The cluster of this stack; `content` is a kubeconfig that the configuration holds.

    Raises `Unusable` when there is none, or it names no such context.
    """
    path = None if content else _kubeconfig_path(settings)
    text = content if path is None else _read_file(path)
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("contexts"), list):
        raise ClusterUnusable(
            Mistake(KUBECONFIG_KEY, f"{path or 'its content'} is no kubeconfig", "name one that kubectl can use")
        )
    contexts = _entries_by_name(document, "contexts", "context")
    name = settings.context or str(document.get("current-context") or "")
    if name not in contexts:
        if not settings.context:
            raise ClusterUnusable(
                Mistake("kubernetes.context", "is missing, and the kubeconfig has none", _context_fix(contexts))
            )
        raise ClusterUnusable(Mistake.unknown("kubernetes.context", name, "context", sorted(contexts)))
    cluster = _entries_by_name(document, "clusters", "cluster").get(str(contexts[name].get("cluster")), {})
    server = str(cluster.get("server") or "")
    if not server:
        raise ClusterUnusable(
            Mistake(KUBECONFIG_KEY, f"context '{name}' names no cluster with a server", "mend the kubeconfig")
        )
    return ClusterContext(name, server, _identifier(cluster, server), document, path, content)


def _kubeconfig_path(settings: Kubernetes) -> Path:
    named = settings.kubeconfig or os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or "~/.kube/config"
    return CHECKOUT / Path(named).expanduser()


def _read_file(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as e:
        why = "there is no file" if isinstance(e, FileNotFoundError) else "cannot read"
        fix = "name the file that kubectl uses, or set KUBECONFIG"
        raise ClusterUnusable(Mistake(KUBECONFIG_KEY, f"{why} {path}", fix)) from None


def _entries_by_name(document: dict[str, Any], plural: str, singular: str) -> dict[str, dict[str, Any]]:
    items = document.get(plural) or []
    return {str(i.get("name")): i.get(singular) or {} for i in items if isinstance(i, dict)}


def _context_fix(contexts: dict[str, Any]) -> str:
    return f"set it to one of {', '.join(sorted(contexts))}" if contexts else "mend the kubeconfig"


def _identifier(cluster: dict[str, Any], server: str) -> str:
    """A digest of the certificate authority, or of the server's address where there is none in the file."""
    data = str(cluster.get("certificate-authority-data") or "")
    try:
        authority = base64.b64decode(data, validate=True) if data else b""
    except binascii.Error:
        authority = b""
    return hashlib.sha256(authority or server.encode()).hexdigest()[:16]
