"""What the program registers for EKS, with the real SDK and no cloud behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks, rpc, settings
from pulumi.runtime.stack import run_pulumi_func

from infra.cloud_config import Cluster
from infra.nodes.pools import NodePool
from infra.resources.provisioned_cluster import SERVICE_ACCOUNTS, IdentityEndpoint, ProvisionedCluster
from infra.targets.aws.bucket import bucket_name
from infra.targets.aws.eks import provision_eks
from infra.targets.aws.network import subnets_in_zones, zone_ranges
from infra.targets.aws.settings import Aws
from tests.rendering.event_loop import event_loop
from tests.unit.plan import clouds

SETTINGS = {"account": "123456789012", "region": "eu-central-1"}
CLUSTER = {"authorized_ranges": ["203.0.113.7/32"], "tags": {"team": "ai"}}
POOLS = (
    {"name": "cpu", "min_nodes": 2, "max_nodes": 2},
    {"name": "l4", "accelerator": "l4", "gpus": 1, "min_nodes": 0, "max_nodes": 4, "zones": ["eu-central-1c"]},
)
EXISTING = {"existing": "vpc-01234567", "subnets": ["subnet-0000000a", "subnet-0000000b"]}
NAME = "headrace-prod"


@dataclass
class Made:
    """What the program registered under one name and type."""

    request: Any
    inputs: dict[str, Any]

    @property
    def provider(self) -> str:
        return str(self.request.provider).split("::")[-2]

    @property
    def deleted_with(self) -> str:
        return str(self.request.deletedWith).rpartition("::")[2]

    @property
    def after(self) -> set[str]:
        return {str(urn).rpartition("::")[2] for urn in self.request.dependencies}

    def statements(self, key: str = "policy") -> Any:
        return json.loads(self.inputs[key])["Statement"]


@dataclass
class Plan:
    made: dict[tuple[str, str], Made] = field(default_factory=dict)
    read: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)

    def __call__(self, kind: str, name: str) -> Made:
        """`kind` is the last part of a type."""
        [found] = [m for (token, n), m in self.made.items() if token.rpartition(":")[2] == kind and n == name]
        return found

    def of(self, kind: str) -> list[str]:
        return sorted(n for token, n in self.made if token.rpartition(":")[2] == kind)


class Cloud(mocks.Mocks):
    """Answers with what the program said, and with what only AWS knows."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if args.typ == "aws:ec2/subnet:Subnet" and args.resource_id:
            return args.resource_id, {"availabilityZone": f"eu-central-1{args.resource_id[-1]}"}
        if args.typ == "aws:ec2/vpc:Vpc" and args.resource_id:
            return args.resource_id, {"cidrBlock": "10.9.0.0/16"}
        return f"{args.name}-id", clouds.outputs(args.typ, args.name, args.inputs)

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        raise AssertionError(f"the program asks {args.token}")


class Monitor(mocks.MockMonitor):
    def __init__(self, plan: Plan) -> None:
        super().__init__(Cloud())
        self._plan = plan

    def RegisterResource(self, request: Any) -> Any:
        inputs = rpc.deserialize_properties(request.object, keep_unknowns=True)
        key = (request.type, request.name)
        assert key not in self._plan.made, "a name is used once"
        self._plan.made[key] = Made(request, inputs)
        return super().RegisterResource(request)

    def ReadResource(self, request: Any) -> Any:
        self._plan.read[request.name] = request.id
        return super().ReadResource(request)


@pytest.fixture(scope="module")
def plan() -> Callable[..., Plan]:
    """Plans a stack; what was planned before is not planned again, for tests only read it."""
    known: dict[str, Plan] = {}

    def run(pools: tuple[dict[str, Any], ...] = POOLS, preview: bool = False, **given: Any) -> Plan:
        key = repr((pools, preview, given))
        if key in known:
            return known[key]
        known[key] = planned = Plan()
        with event_loop() as loop:
            mocks.set_mocks(Cloud(), project="headrace", stack="prod", preview=preview, monitor=Monitor(planned))
            settings.configure(settings.SETTINGS)
            aws = Aws(
                **SETTINGS, **{k: given.pop(k) for k in ("mode", "image", "zones", "addon_versions") if k in given}
            )

            async def hand_on(made: ProvisionedCluster) -> None:
                planned.outputs["kubeconfig"] = await made.kubeconfig.future(with_unknowns=True)
                planned.outputs["secret"] = await made.kubeconfig.is_secret()
                planned.outputs["identifier"] = await pulumi.Output.from_input(made.identifier).future()

            def program() -> None:
                made = provision_eks(
                    aws, Cluster(**{**CLUSTER, **given}), [NodePool(**p) for p in pools], "prod", "serving"
                )
                planned.outputs["made"] = made
                planned.outputs["ready"] = [r._name for r in made.ready]
                waited.append(asyncio.ensure_future(hand_on(made)))

            waited: list[asyncio.Future[None]] = []
            loop.run_until_complete(run_pulumi_func(program))
        return planned

    return run


SUBNETS = [f"{side}-eu-central-1{letter}" for side in ("private", "public") for letter in "abc"]
COMMON = {
    "aws:Cluster": ["aws"],
    "aws:Network": ["network"],
    "aws:Bucket": ["bucket"],
    "pulumi:providers:aws": ["aws"],
    "pulumi:providers:kubernetes": ["kubernetes"],
    "kms/key:Key": ["secrets"],
    "cloudwatch/logGroup:LogGroup": ["logs"],
    "eks/cluster:Cluster": ["cluster"],
    "s3/bucket:Bucket": ["bucket"],
    "s3/bucketPublicAccessBlock:BucketPublicAccessBlock": ["bucket-public-access"],
    "s3/bucketOwnershipControls:BucketOwnershipControls": ["bucket-ownership"],
    "s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": ["bucket-encryption"],
    "s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": ["bucket-lifecycle"],
    "s3/bucketPolicy:BucketPolicy": ["bucket-policy"],
    "eks/podIdentityAssociation:PodIdentityAssociation": [f"identity-{account}" for account in SERVICE_ACCOUNTS],
    "iam/rolePolicy:RolePolicy": ["cluster-key", "serving"],
    "storage.k8s.io/v1:StorageClass": ["storage-class"],
}
OWN_NETWORK = {
    "ec2/vpc:Vpc": ["vpc"],
    "ec2/subnet:Subnet": SUBNETS,
    "ec2/internetGateway:InternetGateway": ["internet"],
    "ec2/eip:Eip": ["nat"],
    "ec2/natGateway:NatGateway": ["nat"],
    "ec2/routeTable:RouteTable": ["private", "public"],
    "ec2/routeTableAssociation:RouteTableAssociation": SUBNETS,
    "ec2/vpcEndpoint:VpcEndpoint": ["s3"],
}
NODE_GROUPS = {
    "ec2/launchTemplate:LaunchTemplate": ["pool-cpu", "pool-l4"],
    "eks/nodeGroup:NodeGroup": ["pool-cpu", "pool-l4"],
    "eks/addon:Addon": [
        "addon-aws-ebs-csi-driver",
        "addon-coredns",
        "addon-eks-pod-identity-agent",
        "addon-kube-proxy",
        "addon-vpc-cni",
    ],
    "iam/role:Role": ["aws-ebs-csi-driver-role", "cluster-role", "nodes-role", "serving-role", "vpc-cni-role"],
    "iam/rolePolicyAttachment:RolePolicyAttachment": [
        "aws-ebs-csi-driver-AmazonEBSCSIDriverPolicy",
        "cluster-AmazonEKSClusterPolicy",
        "nodes-AmazonEC2ContainerRegistryPullOnly",
        "nodes-AmazonEKSWorkerNodePolicy",
        "vpc-cni-AmazonEKS_CNI_Policy",
    ],
}
AUTO = {
    "eks/accessEntry:AccessEntry": ["nodes"],
    "eks/accessPolicyAssociation:AccessPolicyAssociation": ["nodes"],
    "core/v1:ConfigMap": ["network-policies"],
    "eks.amazonaws.com/v1:NodeClass": ["pool-cpu-class", "pool-l4-class"],
    "karpenter.sh/v1:NodePool": ["pool-cpu", "pool-l4"],
    "iam/role:Role": ["cluster-role", "nodes-role", "serving-role"],
    "iam/rolePolicyAttachment:RolePolicyAttachment": [
        "cluster-AmazonEKSBlockStoragePolicy",
        "cluster-AmazonEKSClusterPolicy",
        "cluster-AmazonEKSComputePolicy",
        "cluster-AmazonEKSLoadBalancingPolicy",
        "cluster-AmazonEKSNetworkingPolicy",
        "nodes-AmazonEC2ContainerRegistryPullOnly",
        "nodes-AmazonEKSWorkerNodeMinimalPolicy",
    ],
}


def by_type(planned: Plan) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for token, name in sorted(planned.made):
        if token != "pulumi:pulumi:Stack":
            short = token if token.startswith("pulumi:") else token.partition(":")[2]
            found.setdefault(short, []).append(name)
    return found


@pytest.mark.parametrize("preview", [True, False], ids=["preview", "up"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, COMMON | OWN_NETWORK | NODE_GROUPS),
        ({"network": EXISTING}, COMMON | NODE_GROUPS),
        ({"mode": "auto"}, COMMON | OWN_NETWORK | AUTO),
        (
            {"mode": "auto", "endpoint": "private", "authorized_ranges": []},
            COMMON | OWN_NETWORK | AUTO | {"vpc/securityGroupIngressRule:SecurityGroupIngressRule": ["api-server"]},
        ),
    ],
    ids=["made", "adopted", "auto", "private"],
)
def test_types_and_names_are_for_ever(
    plan: Callable[..., Plan], given: dict[str, Any], expected: dict[str, list[str]], preview: bool
) -> None:
    pools = POOLS if given != {"network": EXISTING} else ({"name": "cpu"}, {**POOLS[1], "zones": []})
    assert by_type(plan(pools, preview=preview, **given)) == expected


def test_the_provider_accepts_only_the_account_and_region_of_the_settings(plan: Callable[..., Plan]) -> None:
    made = plan()
    inputs = made("aws", "aws").inputs
    assert inputs["region"] == "eu-central-1"
    assert json.loads(inputs["allowedAccountIds"]) == ["123456789012"]
    assert json.loads(inputs["defaultTags"]) == {"tags": {"headrace-stack": "prod", "team": "ai"}}
    for (token, name), one in made.made.items():
        if token.startswith("aws:"):
            assert one.provider == "aws", name
            assert one.request.parent, name
        if token.startswith("kubernetes:"):
            assert one.provider == "kubernetes", name


def test_the_cluster_is_encrypted_and_uses_access_entries(plan: Callable[..., Plan]) -> None:
    cluster = plan()("Cluster", "cluster")
    assert cluster.inputs["name"] == NAME
    assert cluster.inputs["version"] == "1.35"
    assert cluster.inputs["accessConfig"] == {
        "authenticationMode": "API",
        "bootstrapClusterCreatorAdminPermissions": True,
    }
    assert cluster.inputs["encryptionConfig"] == {"provider": {"keyArn": "arn:secrets"}, "resources": ["secrets"]}
    assert "audit" in cluster.inputs["enabledClusterLogTypes"]
    assert cluster.inputs["bootstrapSelfManagedAddons"] is False
    assert cluster.inputs["upgradePolicy"] == {"supportType": "EXTENDED"}
    assert "computeConfig" not in cluster.inputs
    network = cluster.inputs["vpcConfig"]
    assert (network["endpointPublicAccess"], network["endpointPrivateAccess"]) == (True, True)
    assert network["publicAccessCidrs"] == ["203.0.113.7/32"]
    assert network["subnetIds"] == ["private-eu-central-1a-id", "private-eu-central-1b-id"]


def test_key_and_logs_are_created_before_the_cluster(plan: Callable[..., Plan]) -> None:
    made = plan()
    assert {"logs", "cluster-key", "cluster-AmazonEKSClusterPolicy"} <= made("Cluster", "cluster").after
    assert made("LogGroup", "logs").inputs == {"name": "/aws/eks/headrace-prod/cluster", "retentionInDays": 90}
    assert made("Key", "secrets").inputs["enableKeyRotation"] is True
    [rights] = made("RolePolicy", "cluster-key").statements()
    assert rights["Resource"] == "arn:secrets"


@pytest.mark.parametrize("protection", [True, False])
def test_deletion_protection_covers_cluster_and_bucket(plan: Callable[..., Plan], protection: bool) -> None:
    made = plan(deletion_protection=protection)
    protected = {(t.rpartition(":")[2], n) for (t, n), one in made.made.items() if one.request.protect}
    assert protected == ({("Cluster", "cluster"), ("Bucket", "bucket")} if protection else set())
    assert made("Cluster", "cluster").inputs["deletionProtection"] is protection
    [bucket] = [m for (t, _), m in made.made.items() if t == "aws:s3/bucket:Bucket"]
    assert bucket.inputs["forceDestroy"] is not protection


def test_a_private_api_server_is_reached_from_the_network(plan: Callable[..., Plan]) -> None:
    made = plan(endpoint="private", authorized_ranges=[])
    network = made("Cluster", "cluster").inputs["vpcConfig"]
    assert (network["endpointPublicAccess"], network["endpointPrivateAccess"]) == (False, True)
    assert "publicAccessCidrs" not in network
    rule = made("SecurityGroupIngressRule", "api-server")
    assert (rule.inputs["securityGroupId"], rule.inputs["cidrIpv4"]) == ("sg-cluster", "10.60.0.0/16")
    assert (rule.inputs["fromPort"], rule.inputs["toPort"]) == (443, 443)


def test_nodes_are_private_and_go_out_by_one_gateway(plan: Callable[..., Plan]) -> None:
    made = plan()
    for name in SUBNETS:
        subnet = made("Subnet", name).inputs
        assert subnet["mapPublicIpOnLaunch"] is False
        role = "internal-elb" if name.startswith("private") else "elb"
        assert subnet["tags"] == {"Name": f"{NAME}-{name}", f"kubernetes.io/role/{role}": "1"}
        assert subnet["availabilityZone"] == name.partition("-")[2]
    for side, way in (("private", {"natGatewayId": "nat-id"}), ("public", {"gatewayId": "internet-id"})):
        assert made("RouteTable", side).inputs["routes"] == [{"cidrBlock": "0.0.0.0/0", **way}]
        for zone in "abc":
            route = made("RouteTableAssociation", f"{side}-eu-central-1{zone}").inputs
            assert route == {"routeTableId": f"{side}-id", "subnetId": f"{side}-eu-central-1{zone}-id"}
    assert made("NatGateway", "nat").inputs["subnetId"] == "public-eu-central-1a-id"
    assert made("VpcEndpoint", "s3").inputs["serviceName"] == "com.amazonaws.eu-central-1.s3"


def test_a_zone_keeps_its_ranges_when_another_comes() -> None:
    cidr = IPv4Network("10.60.0.0/20")
    two, three = (zone_ranges(cidr, [f"eu-central-1{letter}" for letter in letters]) for letters in ("ab", "abfa"))
    assert [z.name[-1] for z in two] == ["a", "b"]
    assert [z.name[-1] for z in three] == ["a", "b", "f"]
    assert three[:2] == two
    ranges = [r for z in three for r in (z.private, z.public)]
    assert all(r.subnet_of(cidr) for r in ranges)
    assert not any(a.overlaps(b) for i, a in enumerate(ranges) for b in ranges[:i])
    assert min(r.num_addresses for r in ranges) >= 16, "AWS makes none that are smaller"


def test_node_groups_follow_their_pools(plan: Callable[..., Plan]) -> None:
    made = plan()
    fixed, scaled = made("NodeGroup", "pool-cpu"), made("NodeGroup", "pool-l4")
    assert fixed.inputs["clusterName"] == NAME
    assert fixed.inputs["nodeRoleArn"] == "arn:nodes-role"
    assert fixed.inputs["launchTemplate"] == {"id": "pool-cpu-id", "version": "3"}
    assert fixed.inputs["subnetIds"] == [f"private-eu-central-1{zone}-id" for zone in "abc"]
    assert scaled.inputs["subnetIds"] == ["private-eu-central-1c-id"]
    assert list(scaled.request.ignoreChanges) == ["scalingConfig.desiredSize"]
    assert list(fixed.request.ignoreChanges) == []
    # A reservation that is full has no GPUs for a second group beside the first.
    assert (scaled.request.deleteBeforeReplace, fixed.request.deleteBeforeReplace) == (True, False)
    tags = made("LaunchTemplate", "pool-l4").inputs["tagSpecifications"][0]["tags"]
    assert tags == {"Name": f"{NAME}-l4", "headrace-stack": "prod", "team": "ai"}
    needs = {"addon-vpc-cni", "addon-kube-proxy", "addon-eks-pod-identity-agent", "private-eu-central-1a", "s3"}
    assert needs <= scaled.after, "a node is not ready without them, and is drained with them"
    assert {"nodes-AmazonEKSWorkerNodePolicy", "nodes-AmazonEC2ContainerRegistryPullOnly"} <= scaled.after


def test_add_ons(plan: Callable[..., Plan]) -> None:
    made = plan()
    assert json.loads(made("Addon", "addon-vpc-cni").inputs["configurationValues"]) == {"enableNetworkPolicy": "true"}
    for name in ("coredns", "aws-ebs-csi-driver"):
        assert {"pool-cpu", "pool-l4"} <= made("Addon", f"addon-{name}").after, "their pods need nodes"
    for name, account in (("vpc-cni", "aws-node"), ("aws-ebs-csi-driver", "ebs-csi-controller-sa")):
        identities = made("Addon", f"addon-{name}").inputs["podIdentityAssociations"]
        assert identities == [{"roleArn": f"arn:{name}-role", "serviceAccount": account}]
        [trust] = made("Role", f"{name}-role").statements("assumeRolePolicy")
        assert trust["Condition"]["StringEquals"]["aws:RequestTag/kubernetes-namespace"] == "kube-system"
    assert {made("Addon", name).deleted_with for name in made.of("Addon")} == {"cluster"}


def test_versions_of_add_ons(plan: Callable[..., Plan]) -> None:
    made = plan(addon_versions={"coredns": "v1.12.4-eksbuild.1"})
    versions = {name: made("Addon", name).inputs.get("addonVersion") for name in made.of("Addon")}
    assert {name: version for name, version in versions.items() if version} == {"addon-coredns": "v1.12.4-eksbuild.1"}


def test_the_control_plane_uses_the_zones_of_the_settings(plan: Callable[..., Plan]) -> None:
    made = plan(({"name": "cpu"},), zones=["eu-central-1c", "eu-central-1d"])
    private = [f"private-eu-central-1{letter}-id" for letter in "cd"]
    assert made("Cluster", "cluster").inputs["vpcConfig"]["subnetIds"] == private
    assert made("NodeGroup", "pool-cpu").inputs["subnetIds"] == private
    assert made("NatGateway", "nat").inputs["subnetId"] == "public-eu-central-1c-id"


def test_further_administrators_get_access_to_the_cluster(plan: Callable[..., Plan]) -> None:
    ops = "arn:aws:iam::123456789012:role/ops"
    made = plan(admins=[ops])
    assert len(made.of("AccessEntry")) == 1
    [name] = made.of("AccessPolicyAssociation")
    given = made("AccessPolicyAssociation", name).inputs
    assert (given["principalArn"], given["accessScope"]) == (ops, {"type": "cluster"})
    assert given["policyArn"].endswith("/AmazonEKSClusterAdminPolicy")


def test_nodes_and_control_plane_have_roles_of_their_own(plan: Callable[..., Plan]) -> None:
    made = plan()
    [nodes] = made("Role", "nodes-role").statements("assumeRolePolicy")
    assert (nodes["Principal"], nodes["Action"]) == ({"Service": "ec2.amazonaws.com"}, ["sts:AssumeRole"])
    [control] = made("Role", "cluster-role").statements("assumeRolePolicy")
    assert control["Principal"] == {"Service": "eks.amazonaws.com"}
    policy = made("RolePolicyAttachment", "nodes-AmazonEKSWorkerNodePolicy").inputs
    assert policy == {"role": "nodes-role", "policyArn": "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy"}


def test_serving_pods_may_access_the_bucket_only(plan: Callable[..., Plan]) -> None:
    made = plan()
    for account in ("headrace", "headrace-jobs"):
        assert made("PodIdentityAssociation", f"identity-{account}").inputs == {
            "clusterName": NAME,
            "namespace": "serving",
            "serviceAccount": account,
            "roleArn": "arn:serving-role",
        }
    [trust] = made("Role", "serving-role").statements("assumeRolePolicy")
    assert trust["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert trust["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    assert trust["Condition"]["StringEquals"] == {
        "aws:SourceAccount": "123456789012",
        "aws:RequestTag/eks-cluster-name": NAME,
        "aws:RequestTag/kubernetes-namespace": "serving",
    }
    rights = made("RolePolicy", "serving").statements()
    assert [(r["Action"], r["Resource"]) for r in rights] == [
        ("s3:ListBucket", "arn:bucket"),
        (["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], "arn:bucket/*"),
    ]


def test_the_bucket_is_closed(plan: Callable[..., Plan]) -> None:
    made = plan()
    closed = made("BucketPublicAccessBlock", "bucket-public-access").inputs
    assert [v for v in closed.values() if isinstance(v, bool)] == [True] * 4
    [rule] = made("BucketServerSideEncryptionConfiguration", "bucket-encryption").inputs["rules"]
    assert rule == {"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}
    [rule] = made("BucketLifecycleConfiguration", "bucket-lifecycle").inputs["rules"]
    assert rule["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 7}
    owner = made("BucketOwnershipControls", "bucket-ownership").inputs["rule"]
    assert owner == {"objectOwnership": "BucketOwnerEnforced"}
    [deny] = made("BucketPolicy", "bucket-policy").statements()
    assert (deny["Effect"], deny["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert "BucketVersioning" not in {token.rpartition(":")[2] for token, _ in made.made}, "what is erased is gone"


@pytest.mark.parametrize("stack", ["prod", "My_Stack.2", "x" * 100, "a" * 44 + "_b"])
def test_a_bucket_has_a_name_that_s3_takes(stack: str) -> None:
    name = bucket_name("123456789012", stack)
    assert len(name) <= 63
    assert all(c.isdigit() or c in "abcdefghijklmnopqrstuvwxyz-" for c in name)
    assert "--" not in name
    assert name != bucket_name("123456789013", stack)


def test_the_cluster_outputs_what_the_stack_needs(plan: Callable[..., Plan]) -> None:
    outputs = plan().outputs
    made = outputs["made"]
    assert made.storage_class == "headrace-gp3"
    assert made.data_uri == "s3://" + bucket_name("123456789012", "prod")
    assert made.identity == [IdentityEndpoint("169.254.170.23/32", 80)]
    # EKS may create its log group again after its deletion, and the next `up` fails at it.
    assert "aws logs delete-log-group --log-group-name /aws/eks/headrace-prod/cluster" in made.leftovers[0]
    assert made.service_account_annotations == {}, "the association is all that EKS Pod Identity needs"
    assert outputs["secret"] is True
    assert outputs["identifier"] == "d5f0c6046c0bd234", "of the certificate authority"
    pods = {"pool-cpu", "pool-l4", "addon-coredns", "addon-aws-ebs-csi-driver", "storage-class"}
    assert set(outputs["ready"]) == pods | {f"identity-{account}" for account in SERVICE_ACCOUNTS}


def test_the_kubeconfig_holds_no_credential(plan: Callable[..., Plan]) -> None:
    config = json.loads(plan().outputs["kubeconfig"])
    [cluster] = config["clusters"]
    assert cluster["cluster"] == {"server": "https://eks.invalid", "certificate-authority-data": "Q0E="}
    [user] = config["users"]
    assert set(user["user"]) == {"exec"}
    assert user["user"]["exec"]["command"] == "aws"
    sign_in = ["eks", "get-token", "--cluster-name", NAME, "--region", "eu-central-1", "--output", "json"]
    assert user["user"]["exec"]["args"] == sign_in
    assert config["current-context"] == config["contexts"][0]["name"] == NAME


def test_the_storage_class_encrypts_volumes(plan: Callable[..., Plan]) -> None:
    volumes = plan()("StorageClass", "storage-class")
    assert volumes.inputs["metadata"] == {"name": "headrace-gp3"}
    assert volumes.inputs["provisioner"] == "ebs.csi.aws.com"
    assert volumes.inputs["parameters"] == {"type": "gp3", "encrypted": "true"}
    assert volumes.inputs["volumeBindingMode"] == "WaitForFirstConsumer"
    assert volumes.deleted_with == "cluster"


def test_an_adopted_network_is_read_and_not_changed(plan: Callable[..., Plan]) -> None:
    pools = ({"name": "cpu"}, {**POOLS[1], "zones": ["eu-central-1b"]})
    made = plan(pools, network=EXISTING)
    assert made.read == {
        "adopted-vpc": "vpc-01234567",
        "adopted-subnet-0": "subnet-0000000a",
        "adopted-subnet-1": "subnet-0000000b",
    }
    assert made("Cluster", "cluster").inputs["vpcConfig"]["subnetIds"] == EXISTING["subnets"]
    assert made("NodeGroup", "pool-cpu").inputs["subnetIds"] == EXISTING["subnets"]
    assert made("NodeGroup", "pool-l4").inputs["subnetIds"] == ["subnet-0000000b"]


def test_a_private_api_server_admits_the_adopted_network(plan: Callable[..., Plan]) -> None:
    made = plan(({"name": "cpu"},), network=EXISTING, endpoint="private", authorized_ranges=[])
    assert made("SecurityGroupIngressRule", "api-server").inputs["cidrIpv4"] == "10.9.0.0/16"


def test_an_adopted_network_must_have_subnets_in_the_zones() -> None:
    found = [("subnet-b", "eu-central-1b"), ("subnet-a", "eu-central-1a")]
    assert subnets_in_zones(found, ["eu-central-1a"]) == ["subnet-a"]
    with pytest.raises(pulumi.RunError, match=r"has none in eu-central-1c, only in eu-central-1a, eu-central-1b"):
        subnets_in_zones(found, ["eu-central-1c"])


def test_auto_mode_uses_the_disks_and_load_balancers_of_eks(plan: Callable[..., Plan]) -> None:
    made = plan(mode="auto")
    # The DNS has no pods that a policy could select: https://github.com/aws/containers-roadmap/issues/2552
    cidrs = [peer["ipBlock"]["cidr"] for peer in made.outputs["made"].dns]
    assert cidrs == ["10.100.0.10/32", "172.20.0.10/32"]
    assert plan().outputs["made"].dns == ()
    cluster = made("Cluster", "cluster").inputs
    assert cluster["computeConfig"] == {"enabled": True, "nodePools": []}, "no machines that nobody asked for"
    assert cluster["storageConfig"] == {"blockStorage": {"enabled": True}}
    assert cluster["kubernetesNetworkConfig"] == {"elasticLoadBalancing": {"enabled": True}}
    assert made("StorageClass", "storage-class").inputs["provisioner"] == "ebs.csi.eks.amazonaws.com"
    entry = made("AccessEntry", "nodes").inputs
    assert (entry["principalArn"], entry["type"]) == ("arn:nodes-role", "EC2")
    access = made("AccessPolicyAssociation", "nodes").inputs
    assert access["policyArn"].endswith("/AmazonEKSAutoNodePolicy")
    assert access["accessScope"] == {"type": "cluster"}
    policies = made("ConfigMap", "network-policies").inputs
    assert policies["metadata"] == {"name": "amazon-vpc-cni", "namespace": "kube-system"}
    assert policies["data"] == {"enable-network-policy-controller": "true"}


def test_node_pools_of_auto_mode_follow_their_pools(plan: Callable[..., Plan]) -> None:
    made = plan(mode="auto")
    shape, pool = made("NodeClass", "pool-l4-class"), made("NodePool", "pool-l4")
    assert shape.inputs["metadata"]["name"] == pool.inputs["metadata"]["name"] == "l4"
    assert shape.inputs["spec"]["role"] == "nodes-role"
    assert shape.inputs["spec"]["securityGroupSelectorTerms"] == [{"id": "sg-cluster"}]
    assert shape.inputs["spec"]["subnetSelectorTerms"] == [{"id": f"private-eu-central-1{z}-id"} for z in "abc"]
    assert pool.inputs["spec"]["template"]["spec"]["nodeClassRef"]["name"] == "l4"
    assert "pool-l4-class" in pool.after
    assert {"nodes", "network-policies", "s3", "nodes-AmazonEKSWorkerNodeMinimalPolicy"} <= shape.after
    assert (shape.deleted_with, pool.deleted_with) == ("", ""), "its nodes are gone before the network is"
