"""Errors of an update as providers word them, replayed into `up`, end in what to do: three of each cloud.

Nobody had an account to cause them: each text is quoted from a report of somebody who had, with its source. Names of
accounts and resources are shortened.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tools.stack import review

STACK = "urn:pulumi:mine::headrace::headrace:"
AWS, GCP, AZURE = f"{STACK}aws:Cluster$aws:", f"{STACK}gcp:Cluster$gcp:", f"{STACK}azure:Cluster$azure-native:"
GROUP = f"{AWS}eks/nodeGroup:NodeGroup::pool-gpu"
POOL = f"{GCP}container/nodePool:NodePool::pool-gpu"
AGENTS = f"{AZURE}containerservice:AgentPool::pool-gpu"

ERRORS = {
    # https://github.com/klothoplatform/klotho/pull/311
    "aws-quota": (
        GROUP,
        "error waiting for EKS Node Group (c:private) to create: unexpected state 'CREATE_FAILED', wanted target"
        " 'ACTIVE'. last error: 1 error occurred:\n\t* eks-private: AsgInstanceLaunchFailures: Could not launch"
        " On-Demand Instances. VcpuLimitExceeded - You have requested more vCPU capacity than your current vCPU limit"
        " of 0 allows for the instance bucket that the specified instance type belongs to.",
        "node pool pool-gpu: the account's quota has no room for these machines; request more vCPUs in Service Quotas",
    ),
    # https://github.com/pulumi/pulumi-eks/issues/203
    "aws-permissions": (
        f"{AWS}eks/cluster:Cluster::cluster",
        "error creating EKS Cluster (test-eksCluster-1480f64): InvalidParameterException: Error in role params",
        "cluster cluster: AWS has not yet made the new role known everywhere, which takes up to a minute; run",
    ),
    # https://github.com/hashicorp/terraform-provider-aws/pull/34717
    "aws-pod-identity": (
        f"{AWS}eks/podIdentityAssociation:PodIdentityAssociation::identity-headrace",
        "InvalidParameterException: Role provided in the request does not exist",
        "PodIdentityAssociation identity-headrace: AWS has not yet made the new role known everywhere",
    ),
    # https://github.com/aws/aws-parallelcluster-node/pull/604; as an event of EKS: aws/containers-roadmap/issues/2204
    "aws-capacity": (
        GROUP,
        "Could not launch On-Demand Instances. InsufficientInstanceCapacity - We currently do not have sufficient"
        " p4d.24xlarge capacity in the Availability Zone you requested (us-east-1d). You can currently get p4d.24xlarge"
        " capacity by not specifying an Availability Zone in your request or choosing us-east-1a, us-east-1b.",
        "node pool pool-gpu: AWS has no such machine left in this zone at present; name other zones in"
        " headrace:node_pools[].zones",
    ),
    # https://github.com/awsdocs/amazon-eks-user-guide/issues/36, which quotes the guide's page on troubleshooting
    "aws-control-plane": (
        f"{AWS}eks/cluster:Cluster::cluster",
        "Cannot create cluster 'example-cluster' because us-east-1d, the targeted availability zone, does not currently"
        " have sufficient capacity to support the cluster. Retry and choose from these availability zones: us-east-1a,"
        " us-east-1b, us-east-1c",
        "cluster cluster: the control plane of EKS cannot run in one of its zones; name two others in"
        " headrace:aws.zones (us-east-1a, us-east-1b, us-east-1c)",
    ),
    # https://github.com/vanvalenlab/kiosk-console/issues/367
    "gcp-quota": (
        POOL,
        'code=403, message=Insufficient regional quota to satisfy request: resource "PREEMPTIBLE_NVIDIA_V100_GPUS":'
        " request requires '2.0' and is short '1.0'. project has a quota of '1.0' with '1.0' available.",
        "node pool pool-gpu: the project's quota PREEMPTIBLE_NVIDIA_V100_GPUS has no room for these machines; request"
        " more of it under IAM & Admin, Quotas",
    ),
    # https://github.com/fastai/course-v3/pull/165
    "gcp-gpus": (
        POOL,
        "Quota 'GPUS_ALL_REGIONS' exceeded. Limit: 0.0 globally.",
        "node pool pool-gpu: the project's quota GPUS_ALL_REGIONS has no room for these machines",
    ),
    # https://github.com/sethvargo/vault-on-gke/issues/26
    "gcp-permissions": (
        f"{GCP}container/cluster:Cluster::cluster",
        "googleapi: Error 403: Permission 'cloudkms.cryptoKeyVersions.useToEncrypt' denied for resource"
        " 'projects/xxx/locations/europe-west3/keyRings/vault/cryptoKeys/vault-init'., forbidden",
        "cluster cluster: Google Cloud has not yet made a new role, account or API known everywhere, which takes up to"
        " seven minutes; run `make up` again",
    ),
    # https://github.com/tranquilitybase-io/tb-gcp/issues/589
    "gcp-capacity": (
        POOL,
        "Error waiting for creating GKE NodePool: Google Compute Engine: Not all instances running in IGM after 14s."
        " Expected 1, running 0, transitioning 1. Current errors: [GCE_STOCKOUT]: Instance 'gke-x' creation failed: The"
        " zone 'projects/x/zones/europe-west3-c' does not have enough resources available to fulfill the request.  Try"
        " a different zone, or try again later",
        "node pool pool-gpu: Google Cloud has no such machine left in this zone at present; name other zones",
    ),
    # https://github.com/MicrosoftDocs/mslearn-aspnet-core/issues/183
    "azure-quota": (
        AGENTS,
        "(QuotaExceeded) Provisioning of resource(s) for container service x failed. Message: Operation could not be"
        " completed as it results in exceeding approved standardDv5Family Cores quota. Additional details - Deployment"
        " Model: Resource Manager, Location: westus, Current Limit: 0, Current Usage: 0, Additional Required: 4",
        "node pool pool-gpu: the subscription's quota has no room for these machines; request more vCPUs of the family",
    ),
    # https://github.com/1ChristianAlex/motordesk/issues/14
    "azure-vcpus": (
        AGENTS,
        "ErrCode_InsufficientVCPUQuota Insufficient vcpu quota requested 2, remaining 0 for family StandardDasv7Family"
        " for region eastus. Surge nodes would also consume vcpu quota.",
        "node pool pool-gpu: the subscription's quota has no room for these machines",
    ),
    # https://github.com/MicrosoftDocs/azure-docs/issues/35586
    "azure-permissions": (
        f"{AZURE}containerservice:ManagedCluster::cluster",
        "Status=403 Code=\"AuthorizationFailed\" Message=\"The client 'xxx' with object id 'yyy' does not have"
        " authorization to perform action 'Microsoft.Authorization/roleAssignments/write' over scope"
        " '/subscriptions/zzz' or the scope is invalid. If access was recently granted, please refresh your"
        ' credentials."',
        "cluster cluster: Azure has not yet made a new role or identity known everywhere, which takes up to ten"
        " minutes; run `make up` again",
    ),
    # https://github.com/Azure-Samples/azure-search-openai-demo/issues/9
    "azure-principal": (
        f"{AZURE}authorization:RoleAssignment::serving-bucket",
        "PrincipalNotFound: Principal X does not exist in the directory X. Check that you have the correct principal.",
        "RoleAssignment serving-bucket: Azure has not yet made a new role or identity known everywhere",
    ),
    # https://github.com/Azure/AKS/issues/1272
    "azure-capacity": (
        AGENTS,
        "Provisioning failed. Allocation failed. We do not have sufficient capacity for the requested VM size in this"
        " region. Read more about improving likelihood of allocation success at http://aka.ms/allocation-guidance."
        " AllocationFailed",
        "node pool pool-gpu: Azure has no such machine left in this zone or location at present; name other zones",
    ),
    # https://github.com/jenkins-infra/azure/pull/1416
    "azure-zone": (
        AGENTS,
        'Status: "OverconstrainedZonalAllocationRequest" Message: "Allocation failed. VM(s) with the following'
        " constraints cannot be allocated, because the condition is too restrictive.",
        "node pool pool-gpu: Azure has no such machine left in this zone or location at present",
    ),
    # pulumi/pkg/resource/deploy/step_generator.go
    "protected": (
        f"{AWS}s3/bucket:Bucket::bucket",
        'unable to replace resource "urn:..."\nas it is currently marked for protection. To unprotect the resource',
        "bucket bucket: this resource is protected from deletion; undo the change",
    ),
}


class Failing:
    """A workspace whose Pulumi fails with errors."""

    stack = "mine"
    target = "aws"

    def __init__(self, *errors: tuple[str, str]) -> None:
        self._errors = errors

    def pulumi(self, *arguments: str, lock: object, events: Path) -> int:
        said = [
            {"diagnosticEvent": {"severity": "error", "urn": urn, "message": f"<{{%reset%}}>{text}<{{%reset%}}>\n"}}
            for urn, text in self._errors
        ]
        events.write_text("".join(f"{json.dumps(s)}\n" for s in said))
        return 255


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs an update that fails with errors, and returns the lines that end it."""
    monkeypatch.setattr(review, "HOME", tmp_path)

    def run(*errors: tuple[str, str]) -> list[str]:
        workspace: Any = Failing(*errors)
        assert review.update(workspace, [], io.StringIO()) == 255
        return capsys.readouterr().err.strip().splitlines()

    return run


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_ends_in_its_fix(name: str, fail: Any) -> None:
    urn, text, expected = ERRORS[name]
    heading, line = fail((urn, text), ("", "update failed"))
    assert heading == "What to do:"
    assert line.strip().startswith(expected)


def test_each_cloud_has_all_three() -> None:
    kinds = {(cloud, kind) for cloud in ("aws", "gcp", "azure") for kind in ("quota", "permissions", "capacity")}
    assert {tuple(name.split("-", 1)) for name in ERRORS} >= kinds


def test_the_same_cause_is_told_once_and_another_one_not_at_all(fail: Any) -> None:
    urn, text, _ = ERRORS["aws-quota"]
    assert len(fail((urn, text), (urn, text))) == 2
    assert fail((urn, "something new")) == []
