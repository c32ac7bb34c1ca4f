"""What clouds would answer to a plan: the outputs of their resources, and the calls that are asked."""

from __future__ import annotations

import base64
from typing import Any

import yaml

CREDENTIALS = base64.b64encode(
    yaml.safe_dump(
        {
            "clusters": [{"name": "x", "cluster": {"server": "https://aks.invalid:443", "ca": "Zm9v"}}],
            "users": [{"name": "x", "user": {"token": "planted"}}],
        }
    ).encode()
).decode()

CALLS: dict[str, dict[str, Any]] = {
    "azure-native:authorization:getClientConfig": {
        name: f"my-{name}" for name in ("clientId", "objectId", "subscriptionId", "tenantId")
    },
    "azure-native:containerservice:listManagedClusterUserCredentials": {
        "kubeconfigs": [{"name": "clusterUser", "value": CREDENTIALS}]
    },
}
"""Answers by token of the function."""


def outputs(token: str, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Of a resource: its inputs and what a cloud adds; `token` is its type, for example `aws:eks/cluster:Cluster`."""
    match token.split(":"):
        case ["aws", _, kind]:
            return {"arn": f"arn:{name}", "name": name, **inputs, **_aws(kind, inputs)}
        case ["gcp", _, kind]:
            return {**inputs, **_gcp(kind, inputs)}
        case ["azure-native", _, kind]:
            common = {"principalId": f"{name}-principal", "clientId": f"{name}-client", "resourceUID": "uid"}
            return {"name": name, "ipAddress": "20.0.0.1", **common, **inputs, **_azure(kind)}
    return inputs


def _aws(kind: str, inputs: dict[str, Any]) -> dict[str, Any]:
    if kind == "Cluster" and "vpcConfig" in inputs:
        return {
            "vpcConfig": {**inputs["vpcConfig"], "clusterSecurityGroupId": "sg-cluster"},
            "endpoint": "https://eks.invalid",
            "certificateAuthority": {"data": "Q0E="},
        }
    if kind.startswith("Eip"):
        return {
            "allocationId": f"eipalloc-{inputs['tags']['Name']}" if "tags" in inputs else "eipalloc",
            "publicIp": "192.0.2.7",
        }
    return {"latestVersion": 3} if kind == "LaunchTemplate" else {}


def _gcp(kind: str, inputs: dict[str, Any]) -> dict[str, Any]:
    account = inputs.get("accountId")
    email = f"{account}@example-project.iam.gserviceaccount.com"
    name = f"projects/example-project/serviceAccounts/{account}"
    return {
        "Account": {"email": email, "member": f"serviceAccount:{email}", "name": name},
        "Address": {"address": "192.0.2.7"},
        "ServiceIdentity": {"member": "serviceAccount:gke-agent"},
        "Cluster": {"endpoint": "192.0.2.1", "masterAuth": {"clusterCaCertificate": "Q0E="}},
    }.get(kind, {})


def _azure(kind: str) -> dict[str, Any]:
    if kind != "ManagedCluster":
        return {}
    # Azure answers with a mapping where it is given a list.
    identity = {"type": "UserAssigned", "userAssignedIdentities": {}}
    return {"identity": identity, "oidcIssuerProfile": {"enabled": True, "issuerURL": "https://oidc.invalid/"}}
