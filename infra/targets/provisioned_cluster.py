"""A cluster that the stack makes, as what is installed on it needs to know it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
from pulumi import Input, Output

SERVICE_ACCOUNTS = ("headrace", "headrace-jobs")
"""Of the pods that use the bucket, workers and jobs: charts/headrace/templates/serviceaccounts.yaml."""


def resource_slug(stack: str, length: int) -> str:
    """A stack's name in lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", stack.lower()).strip("-")[:length].rstrip("-")


def kubeconfig(name: str, cluster: Mapping[str, str], sign_in: Mapping[str, object]) -> str:
    """A kubeconfig (JSON, which is YAML) without a credential: whoever uses it signs in by a cloud's own program.

    https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
    """
    plugin = {"apiVersion": "client.authentication.k8s.io/v1beta1", **sign_in}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": dict(cluster)}],
            "users": [{"name": name, "user": {"exec": plugin}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
    )


@dataclass(frozen=True)
class IdentityEndpoint:
    """Where pods get their identity from: allowed through the network policies."""

    cidr: str
    port: int


@dataclass(frozen=True)
class ProvisionedCluster:
    """What each cloud's target, and machines of your own, hand on."""

    kubeconfig: Output[str]
    """Secret. In a cloud it holds no credential: who uses it signs in by the cloud's own program."""
    identifier: Input[str]
    """Stays the same while the cluster does."""
    owner: pulumi.Resource
    """With it everything on the cluster is gone."""
    ready: Sequence[pulumi.Resource]
    """What pods need: nodes, the drivers of volumes, their identity."""
    storage_class: str = ""
    """Of block volumes; empty: the cluster's default class."""
    data_uri: str = ""
    """The bucket; empty: data lies on a volume."""
    service_account_annotations: Mapping[str, Input[str]] = field(default_factory=dict)
    """By which the serving pods get the identity that may use the bucket."""
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    """The same, on pods."""
    identity: Sequence[IdentityEndpoint] = ()
    leftovers: Sequence[str] = ()
    """What the cloud is known to leave after `purge`, in words: it is printed."""
