"""The buckets of others whose weights pods may read: exactly those that the models name, and reading only."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pulumi
import pytest

from infra.layout import CHECKOUT
from tests.rendering.examples import stack_settings

Planner = Callable[..., Any]

SOURCES = {
    "aws": ("s3://models-of-acme/llama/3.1-8b/", "s3://adapters/tone"),
    "gcp": ("gs://models-of-acme/llama/3.1-8b/", "gs://adapters/tone"),
    "azure": ("az://acmemodels/weights/llama/3.1-8b/", "az://acmemodels/adapters/tone"),
}


def settings(cloud: str, *sources: str, cluster: Any = None, **model: Any) -> dict[str, Any]:
    """The example of a cloud, whose model and its adapter are at these sources."""
    found = deepcopy(stack_settings(CHECKOUT / f"Pulumi.{cloud}.yaml"))
    [served] = found["models"]
    del served["token"]
    loras = [{"name": f"adapter-{i}", "source": source} for i, source in enumerate(sources[1:])]
    served |= {"source": sources[0], "loras": loras, **model}
    found["cluster"] = found["cluster"] | (cluster or {})
    if cloud == "azure":
        found["azure"] = found["azure"] | {"storage_groups": {"acmemodels": "models"}}
    return found


def grants(planned: Any) -> list[Any]:
    return [r for r in planned.resources.values() if r.name.startswith("weights") and "kubernetes" not in r.token]


def test_on_aws_the_role_of_the_pods_reads_the_folders(plan_once: Planner) -> None:
    planned = plan_once(settings("aws", *SOURCES["aws"]))
    [policy] = grants(planned)
    assert policy.token == "aws:iam/rolePolicy:RolePolicy"
    assert policy.inputs["role"] == planned["serving"].inputs["role"] == "serving-role"
    assert json.loads(policy.inputs["policy"])["Statement"] == [
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": "arn:aws:s3:::models-of-acme",
            "Condition": {"StringLike": {"s3:prefix": ["llama/3.1-8b", "llama/3.1-8b/*"]}},
        },
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::models-of-acme/llama/3.1-8b/*"},
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": "arn:aws:s3:::adapters",
            "Condition": {"StringLike": {"s3:prefix": ["tone", "tone/*"]}},
        },
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::adapters/tone/*"},
    ]
    for account in ("headrace", "headrace-jobs"):
        assert "weights" in planned[f"identity-{account}"].dependencies, "pods start once they may read"


def test_on_aws_a_wildcard_in_a_name_means_itself(plan_once: Planner) -> None:
    [policy] = grants(plan_once(settings("aws", "s3://models/a*$")))
    listed, read = json.loads(policy.inputs["policy"])["Statement"]
    assert listed["Condition"]["StringLike"]["s3:prefix"] == ["a${*}${$}", "a${*}${$}/*"]
    assert read["Resource"] == "arn:aws:s3:::models/a${*}${$}/*"


def test_on_google_cloud_the_service_account_of_the_pods_reads_the_buckets(plan_once: Planner) -> None:
    planned = plan_once(settings("gcp", *SOURCES["gcp"], "gs://adapters/other"))
    member = planned["bucket-pods"].inputs["member"]
    assert {r.name: (r.token, r.inputs) for r in grants(planned)} == {
        f"weights-{bucket}": (
            "gcp:storage/bucketIAMMember:BucketIAMMember",
            {"bucket": bucket, "role": "roles/storage.objectViewer", "member": member},
        )
        for bucket in ("models-of-acme", "adapters")
    }


def test_on_azure_the_identity_of_the_pods_reads_the_containers(plan_once: Planner) -> None:
    planned = plan_once(settings("azure", *SOURCES["azure"]))
    subscription = planned["serving-bucket"].inputs["roleDefinitionId"].partition("/providers/")[0]
    account = f"{subscription}/resourceGroups/models/providers/Microsoft.Storage/storageAccounts/acmemodels"
    roles = f"{subscription}/providers/Microsoft.Authorization/roleDefinitions"
    assert {
        r.name: (r.inputs["scope"], r.inputs["roleDefinitionId"], r.inputs["principalId"]) for r in grants(planned)
    } == {
        f"weights-acmemodels-{container}": (
            f"{account}/blobServices/default/containers/{container}",
            f"{roles}/2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",  # Storage Blob Data Reader
            "serving-identity-principal",
        )
        for container in ("weights", "adapters")
    }


@pytest.mark.parametrize("cloud", SOURCES)
@pytest.mark.parametrize("changed", ["hub", "token", "endpoint", "own grant", "another cloud"])
def test_nothing_is_granted_that_the_pods_identity_does_not_open(cloud: str, changed: str, plan_once: Planner) -> None:
    source = SOURCES[cloud][0]
    given: dict[str, Any] = {
        "hub": {"source": "hf://acme/llama"},
        "token": {"token": {"ref": "file:/etc/headrace/secrets/bucket"}},
        "endpoint": {"endpoint": "https://store.example.com"},
        "own grant": {"cluster": {"grant_weights": False}},
        "another cloud": {"source": SOURCES["gcp" if cloud == "aws" else "aws"][0]},
    }[changed]
    assert grants(plan_once(settings(cloud, source, **given))) == []
    assert grants(plan_once(settings(cloud, source))) != []


def test_an_account_of_azure_needs_its_resource_group(plan: Planner, plan_once: Planner) -> None:
    unknown = settings("azure", *SOURCES["azure"])
    unknown["azure"] = unknown["azure"] | {"storage_groups": {"other": "models"}}
    with pytest.raises(pulumi.RunError) as raised:
        plan(unknown, stack="example")
    said = str(raised.value)
    assert "headrace:azure.storage_groups: has no resource group for the account 'acmemodels' of models[0]" in said
    assert "cluster.grant_weights to false" in said
    unknown["cluster"] = unknown["cluster"] | {"grant_weights": False}
    assert grants(plan_once(unknown)) == []
