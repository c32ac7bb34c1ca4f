"""Reads the cluster of a kubeconfig, without connecting to it."""

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
from infra.layout import CHECKOUT
from infra.mistakes import Mistake

KUBECONFIG_KEY = "kubernetes.kubeconfig"


class ClusterUnusable(Exception):
    """The kubeconfig or its cluster cannot be used, because of `mistake`."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(str(mistake))
        self.mistake = mistake


class ClusterRefused(ClusterUnusable):
    """The cluster rejects the kubeconfig's user, or does not allow it what it asked for."""


@dataclass(frozen=True)
class ClusterContext:
    """A context of a kubeconfig, with its credentials, which `repr` omits."""

    context: str
    server: str
    identifier: str
    """Identity of the cluster: a digest of its certificate authority, which does not change with its address."""
    document: dict[str, Any] = field(repr=False)
    path: Path | None = None
    """Path of the kubeconfig; None if the configuration contains it."""
    content: str = field(default="", repr=False)


def read_kubeconfig(settings: Kubernetes, content: str = "") -> ClusterContext:
    """Returns the stack's cluster; `content` is a kubeconfig from the configuration, or empty.

    Raises `ClusterUnusable` if there is no kubeconfig, or it does not have the context.
    """
    path = None if content else _kubeconfig_path(settings)
    text = content if path is None else _read_file(path)
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("contexts"), list):
        raise ClusterUnusable(
            Mistake(KUBECONFIG_KEY, f"{path or 'its content'} is not a kubeconfig", "use one that works with kubectl")
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
            Mistake(KUBECONFIG_KEY, f"the cluster of context '{name}' has no server", "correct the kubeconfig")
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
        fix = "set it to the file that kubectl uses, or set KUBECONFIG"
        raise ClusterUnusable(Mistake(KUBECONFIG_KEY, f"{why} {path}", fix)) from None


def _entries_by_name(document: dict[str, Any], plural: str, singular: str) -> dict[str, dict[str, Any]]:
    items = document.get(plural) or []
    return {str(i.get("name")): i.get(singular) or {} for i in items if isinstance(i, dict)}


def _context_fix(contexts: dict[str, Any]) -> str:
    return f"set it to one of {', '.join(sorted(contexts))}" if contexts else "correct the kubeconfig"


def _identifier(cluster: dict[str, Any], server: str) -> str:
    """Returns a digest of the certificate authority, or of the server's address if the file has none."""
    data = str(cluster.get("certificate-authority-data") or "")
    try:
        authority = base64.b64decode(data, validate=True) if data else b""
    except binascii.Error:
        authority = b""
    return hashlib.sha256(authority or server.encode()).hexdigest()[:16]
