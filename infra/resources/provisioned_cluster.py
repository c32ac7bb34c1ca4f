"""A cluster that the stack created, with what the stack on it needs to know."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi import Input, Output

SERVICE_ACCOUNTS = ("headrace", "headrace-jobs")
"""Service accounts of the pods that use the bucket: charts/headrace/templates/serviceaccounts.yaml."""


def resource_slug(stack: str, length: int) -> str:
    """Converts a stack's name to lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", stack.lower()).strip("-")[:length].rstrip("-")


def admin_resource(admin: str) -> str:
    """Returns the resource name for an administrator, which does not change when others come or go."""
    return f"admin-{hashlib.sha256(admin.encode()).hexdigest()[:8]}"


def kubeconfig(name: str, cluster: Mapping[str, str], sign_in: Mapping[str, object]) -> str:
    """Returns a kubeconfig (in JSON) without credentials, whose users sign in by the cloud's own program.

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
    """An endpoint that issues the pods' cloud identity, which network policies must allow."""

    cidr: str
    port: int


@dataclass(frozen=True)
class Entrance:
    """The reserved addresses of the API's load balancer, to which a DNS record leads."""

    annotations: Mapping[str, Input[str]] = field(default_factory=dict)
    """Annotations of the load balancer's Service, by which it gets the addresses."""
    ready: Sequence[pulumi.Resource] = ()
    """The addresses and the record, which must exist before the load balancer and outlive it."""


RECORD_S = 300
"""How long resolvers may keep a record of the host."""


@dataclass(frozen=True)
class ProvisionedCluster:
    """A new cluster and its resources, from a cloud or on your own hosts."""

    kubeconfig: Output[str]
    """Secret. In a cloud it has no credentials: its users sign in by the cloud's own program."""
    identifier: Input[str]
    """Identity of the cluster, which changes only with the cluster."""
    owner: pulumi.Resource
    """The resource whose deletion deletes the cluster."""
    ready: Sequence[pulumi.Resource]
    """Resources that pods depend on: nodes, volume drivers, identity."""
    storage_class: str = ""
    """Class of block volumes; empty: the cluster's default class."""
    data_uri: str = ""
    """URI of the bucket; empty: data is stored on a volume."""
    service_account_annotations: Mapping[str, Input[str]] = field(default_factory=dict)
    """Annotations that give the serving pods the identity that may use the bucket."""
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of pods for the same purpose."""
    identity: Sequence[IdentityEndpoint] = ()
    dns: Sequence[Mapping[str, Any]] = ()
    """Peers that answer the pods' DNS requests, in the format of NetworkPolicies; empty: the pods of kube-dns."""
    entrance: Entrance = Entrance()
    leftovers: Sequence[str] = ()
    """Descriptions of resources that `purge` does not delete, which are printed."""
