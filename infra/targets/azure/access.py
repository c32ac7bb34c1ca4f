"""Waits until the role that makes a user the administrator of a new cluster has taken effect."""

from __future__ import annotations

import shutil
import time

import pulumi

from infra.cluster_config import Kubernetes
from infra.kubernetes.cluster import ClusterContext, ClusterRefused, ClusterUnusable, read_kubeconfig
from infra.kubernetes.kube_api import connect

WAIT_S = 900
"""A role takes up to ten minutes to take effect, and the cluster remembers a refusal for some more.

https://learn.microsoft.com/azure/role-based-access-control/troubleshooting#symptom---role-assignment-changes-are-not-being-detected
"""

POLL_S = 20


def wait_until_allowed(kubeconfig: str) -> None:
    """Waits until the kubeconfig's user may create namespaces.

    Raises:
        RunError: that takes too long, or the cluster cannot be asked, which waiting does not change.
    """
    if shutil.which("kubelogin") is None:
        raise pulumi.RunError("kubelogin is missing, with which `up` signs in to the cluster: `az aks install-cli`")
    cluster = read_kubeconfig(Kubernetes(), kubeconfig)
    deadline = time.monotonic() + WAIT_S
    while reason := _refusal(cluster):
        if time.monotonic() > deadline:
            raise pulumi.RunError(
                f"{reason}, {WAIT_S // 60} minutes after the role Azure Kubernetes Service RBAC Cluster Admin was"
                " assigned; run `up` again later, or assign the role to the user that runs it (docs/how-to/azure.md)"
            )
        pulumi.log.info(f"{reason}; waiting until the role of the cluster's administrator takes effect")
        time.sleep(POLL_S)


def _refusal(cluster: ClusterContext) -> str:
    """Returns why the cluster does not take its user yet; empty if it does."""
    try:
        with connect(cluster) as api:
            return "" if api.may_create("", "namespaces") else f"{cluster.server} does not allow its user anything"
    except ClusterRefused as e:
        return e.mistake.problem
    except ClusterUnusable as e:
        raise pulumi.RunError(f"{e.mistake.problem}; {e.mistake.fix}") from None
