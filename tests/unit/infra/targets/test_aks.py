"""The cluster in Azure, constructed with the real SDK and a monitor that records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime import mocks, rpc, settings
from pulumi.runtime.stack import run_pulumi_func

from infra.cloud_config import Cluster, Network
from infra.nodes.pools import NodePool
from infra.resources.provisioned_cluster import ProvisionedCluster
from infra.targets.azure import access
from infra.targets.azure.aks import LEFTOVERS, provision_aks, resource_name
from infra.targets.azure.bucket import bucket_name
from infra.targets.azure.nodes import IMMUTABLE
from infra.targets.azure.settings import Azure
from tests.rendering.event_loop import event_loop
from tests.unit.plan import clouds

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
AZURE = Azure(subscription=SUBSCRIPTION, location="westeurope")
OPEN = Cluster(authorized_ranges=("203.0.113.7/32",), tags={"team": "llm"})
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers"
VNET = f"{GROUP}/Microsoft.Network/virtualNetworks/corp"
RESERVATION = f"{GROUP}/Microsoft.Compute/capacityReservationGroups/gpus"
ADOPTED = Cluster(network=Network(existing=VNET, subnets=("nodes",)), endpoint="private", deletion_protection=False)
POOLS = (
    NodePool(name="cpu"),
    NodePool(name="gpu", accelerator="a100-80gb-pcie", gpus=1, min_nodes=0, max_nodes=2),
)
ROLES = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions"


@dataclass
class Planned:
    """One resource as it was registered, and its options."""

    token: str
    inputs: dict[str, Any]
    parent: str
    provider: str
    dependencies: list[str]
    protect: bool
    deleted_with: str
    ignored: list[str]
    replaced: list[str]
    deleted_first: bool


@dataclass
class Plan:
    resources: dict[str, Planned] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    made: list[ProvisionedCluster] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    secret: bool = False
    waited: list[str] = field(default_factory=list)
    """Kubeconfigs with which the program waited for access."""
    asked: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Planned:
        return self.resources[name]


def name(urn: str) -> str:
    return urn.split("::")[-1]


class Monitor(mocks.MockMonitor):
    def __init__(self, plan: Plan, preview: bool) -> None:
        super().__init__(_Azure(plan, preview))
        self._plan = plan

    def RegisterResource(self, request: Any) -> Any:
        if request.type == "pulumi:pulumi:Stack":  # of the first plan in a process alone
            return super().RegisterResource(request)  # type: ignore[no-untyped-call]
        key = request.name if request.custom else f"{request.name} (component)"
        key = "azure (provider)" if request.type.startswith("pulumi:providers:") else key
        assert key not in self._plan.resources, key
        self._plan.resources[key] = Planned(
            token=request.type,
            inputs=rpc.deserialize_properties(request.object, keep_unknowns=True),
            # The stack itself is that of whatever was planned first in this process.
            parent="" if request.parent.split("::")[2:3] == ["pulumi:pulumi:Stack"] else name(request.parent),
            provider=name(request.provider.rpartition("::")[0]),
            dependencies=sorted({name(urn) for urn in request.dependencies}),
            protect=request.protect,
            deleted_with=name(request.deletedWith),
            ignored=list(request.ignoreChanges),
            replaced=list(request.replaceOnChanges),
            deleted_first=request.deleteBeforeReplace,
        )
        return super().RegisterResource(request)  # type: ignore[no-untyped-call]


class _Azure(mocks.Mocks):
    """Answers as Azure would."""

    def __init__(self, plan: Plan, preview: bool) -> None:
        self._plan = plan
        self._preview = preview

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if self._preview:
            return None, {k: v for k, v in args.inputs.items() if k != "identity"}
        return f"{args.name}-id", clouds.outputs(args.typ, args.name, args.inputs)

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        self._plan.calls.append(args.token)
        if args.token == "azure-native:containerservice:listManagedClusterUserCredentials":
            self._plan.asked = args.args
        return clouds.CALLS[args.token], []


Planner = Callable[..., Plan]


@pytest.fixture(scope="module")
def plan() -> Iterator[Planner]:
    """Plans once for each configuration: a plan takes a second, and nobody changes it."""
    with pytest.MonkeyPatch.context() as patch:
        yield _planner(patch)


def _planner(patch: pytest.MonkeyPatch) -> Planner:
    plans: dict[str, Plan] = {}
    waited: list[str] = []
    patch.setattr(access, "wait_until_allowed", waited.append)

    def run(
        cluster: Cluster = OPEN,
        pools: tuple[NodePool, ...] = POOLS,
        azure: Azure = AZURE,
        preview: bool = False,
    ) -> Plan:
        key = repr((cluster, pools, azure, preview))
        if key in plans:
            return plans[key]
        planned = plans[key] = Plan()
        with event_loop() as loop:
            monitor = Monitor(planned, preview)
            mocks.set_mocks(monitor.mocks, project="headrace", stack="prod", preview=preview, monitor=monitor)
            settings.configure(settings.SETTINGS)
            made = planned.made

            def program() -> None:
                made.append(provision_aks(azure, cluster, pools, "prod", "llm"))

            loop.run_until_complete(run_pulumi_func(program))
            handed_on: dict[str, Any] = {
                "kubeconfig": made[0].kubeconfig,
                "identifier": made[0].identifier,
                "annotations": dict(made[0].service_account_annotations),
            }
            for what, output in handed_on.items():
                planned.outputs[what] = loop.run_until_complete(pulumi.Output.from_input(output).future())
            planned.waited, waited[:] = list(waited), []
            planned.secret = loop.run_until_complete(made[0].kubeconfig.is_secret())
        return planned

    return run


def test_resources_use_the_subscriptions_provider(plan: Planner) -> None:
    planned = plan()
    provider = planned["azure (provider)"]
    assert provider.token == "pulumi:providers:azure-native"
    given = {"subscriptionId": SUBSCRIPTION, "location": "westeurope"}
    assert {k: provider.inputs[k] for k in given} == given
    for name, resource in planned.resources.items():
        if resource.token.startswith("azure-native:"):
            assert resource.provider == "azure", name
            assert resource.parent in ("azure", "network", "bucket"), name


def test_all_that_can_be_is_tagged(plan: Planner) -> None:
    of_azure = [r for r in plan().resources.values() if r.token.startswith("azure-native:")]
    assert {r.token.rpartition(":")[2] for r in of_azure if "tags" not in r.inputs} == {
        "Subnet",
        "RoleAssignment",
        "MaintenanceConfiguration",
        "DiagnosticSetting",
        "BlobServiceProperties",
        "BlobContainer",
        "ManagementLockByScope",
        "FederatedIdentityCredential",
    }
    assert plan()["cluster"].inputs["tags"] == {"headrace-stack": "prod", "team": "llm"}


def test_nodes_leave_by_a_nat_gateway_and_have_no_other_way(plan: Planner) -> None:
    planned = plan()
    assert planned["network"].inputs["addressSpace"] == {"addressPrefixes": ["10.60.0.0/16"]}
    assert planned["network"].ignored == ["subnets"]
    subnet = planned["subnet"].inputs
    assert subnet["natGateway"] == {"id": "nat-id"}
    assert subnet["addressPrefix"] == "10.60.0.0/17"
    assert subnet["defaultOutboundAccess"] is False
    assert subnet["serviceEndpoints"] == [{"service": "Microsoft.Storage"}]
    assert planned["nat"].inputs["publicIpAddresses"] == [{"id": "nat-address-id"}]


def test_an_existing_network_is_used_unchanged(plan: Planner) -> None:
    planned = plan(ADOPTED)
    assert not [n for n, r in planned.resources.items() if r.token.startswith("azure-native:network:")]
    subnet = f"{VNET}/subnets/nodes"
    assert planned["cluster"].inputs["agentPoolProfiles"][0]["vnetSubnetID"] == subnet
    assert planned["pool-gpu"].inputs["vnetSubnetID"] == subnet
    assert planned["cluster-network"].inputs["scope"] == subnet
    rules = planned["bucket"].inputs["networkRuleSet"]["virtualNetworkRules"]
    assert [r["virtualNetworkResourceId"] for r in rules] == [subnet]


def test_network_policies_are_enforced(plan: Planner) -> None:
    assert plan()["cluster"].inputs["networkProfile"] == {
        "networkPlugin": "azure",
        "networkPluginMode": "overlay",
        "networkDataplane": "cilium",
        "networkPolicy": "cilium",
        "outboundType": "userAssignedNATGateway",
        "loadBalancerSku": "standard",
        "podCidr": "10.192.0.0/12",
        "serviceCidr": "10.208.0.0/16",
        "dnsServiceIP": "10.208.0.10",
    }


def test_the_cluster_is_closed_but_for_entra_id(plan: Planner) -> None:
    cluster = plan()["cluster"]
    assert cluster.inputs["disableLocalAccounts"] is True
    assert cluster.inputs["enableRBAC"] is True
    assert cluster.inputs["aadProfile"] == {"managed": True, "enableAzureRBAC": True}
    assert cluster.inputs["oidcIssuerProfile"] == {"enabled": True}
    assert cluster.inputs["securityProfile"] == {"workloadIdentity": {"enabled": True}}
    assert cluster.inputs["autoUpgradeProfile"] == {"upgradeChannel": "patch", "nodeOSUpgradeChannel": "NodeImage"}
    assert cluster.inputs["identity"] == {
        "type": "UserAssigned",
        "userAssignedIdentities": ["cluster-identity-id"],
    }
    assert cluster.inputs["kubernetesVersion"] == "1.35"


def test_a_public_endpoint_takes_those_named_and_the_nodes(plan: Planner) -> None:
    assert plan()["cluster"].inputs["apiServerAccessProfile"] == {
        "authorizedIPRanges": ["203.0.113.7/32", "20.0.0.1/32"],
        "disableRunCommand": True,
    }


def test_a_private_endpoint_has_no_public_name(plan: Planner) -> None:
    assert plan(ADOPTED)["cluster"].inputs["apiServerAccessProfile"] == {
        "enablePrivateCluster": True,
        "enablePrivateClusterPublicFQDN": False,
        "privateDNSZone": "system",
        "disableRunCommand": True,
    }


def test_the_cluster_may_change_its_subnet_alone_and_may_so_before_it_is_there(plan: Planner) -> None:
    planned = plan()
    role = planned["cluster-network"].inputs
    assert role["roleDefinitionId"] == f"{ROLES}/4d97b98b-1d4f-4787-a291-c67834d212e7"
    assert (role["scope"], role["principalId"]) == ("subnet-id", "cluster-identity-principal")
    assert "cluster-network" in planned["cluster"].dependencies


def test_the_cluster_may_use_the_reservations_of_its_pools(plan: Planner) -> None:
    reserved = NodePool(name="held", accelerator="a100-80gb-pcie", gpus=1, capacity="reserved", reservation=RESERVATION)
    planned = plan(pools=(*POOLS, reserved, reserved.model_copy(update={"name": "held2"})))
    assert planned["cluster-reservation-0"].inputs["scope"] == RESERVATION
    assert "cluster-reservation-1" not in planned.resources
    assert "cluster-reservation-0" in planned["cluster"].dependencies


def test_pools_are_resources_of_their_own(plan: Planner) -> None:
    planned = plan()
    assert [p["name"] for p in planned["cluster"].inputs["agentPoolProfiles"]] == ["system"]
    # Pools that a refresh takes over from Azure are not sent back, and the system pool gets new versions.
    assert planned["cluster"].ignored == []
    gpu = planned["pool-gpu"]
    assert (gpu.inputs["agentPoolName"], gpu.inputs["resourceName"]) == ("gpu", "cluster")
    assert gpu.inputs["enableAutoScaling"] is True
    assert gpu.deleted_with == "cluster"


def test_the_count_is_the_clouds_where_it_scales_and_ours_where_not(plan: Planner) -> None:
    planned = plan()
    assert planned["pool-gpu"].ignored == ["count"]
    assert planned["pool-cpu"].ignored == []


def test_immutable_pool_properties_replace_the_pool(plan: Planner) -> None:
    gpu = plan()["pool-gpu"]
    assert gpu.replaced == list(IMMUTABLE)
    assert {"gpuInstanceProfile", "vmSize"} <= set(gpu.replaced)
    assert gpu.deleted_first is True


def test_the_bucket_is_closed(plan: Planner) -> None:
    planned = plan()
    account = planned["bucket"].inputs
    assert planned.made[0].data_uri == f"az://{account['accountName']}/data"
    closed = {
        "allowBlobPublicAccess": False,
        "allowSharedKeyAccess": False,
        "allowCrossTenantReplication": False,
        "enableHttpsTrafficOnly": True,
        "minimumTlsVersion": "TLS1_2",
        "kind": "StorageV2",
    }
    assert {k: account[k] for k in closed} == closed
    assert account["networkRuleSet"] == {
        "defaultAction": "Deny",
        "bypass": "None",
        "virtualNetworkRules": [{"virtualNetworkResourceId": "subnet-id", "action": "Allow"}],
    }
    assert account["encryption"] == {
        "keySource": "Microsoft.Storage",
        "services": {"blob": {"enabled": True}},
    }
    assert planned["bucket-container"].inputs["publicAccess"] == "None"
    service = planned["bucket-service"].inputs
    assert service["isVersioningEnabled"] is False
    assert service["deleteRetentionPolicy"] == service["containerDeleteRetentionPolicy"] == {"enabled": False}


@pytest.mark.parametrize(
    ("name", "account"),
    [("serving-identity-headrace", "headrace"), ("serving-identity-headrace-jobs", "headrace-jobs")],
)
def test_pods_are_known_by_their_service_account(plan: Planner, name: str, account: str) -> None:
    credential = plan()[name].inputs
    assert credential["subject"] == f"system:serviceaccount:llm:{account}"
    assert credential["issuer"] == "https://oidc.invalid/"
    assert credential["audiences"] == ["api://AzureADTokenExchange"]


def test_credentials_of_one_identity_are_made_one_after_the_other(plan: Planner) -> None:
    planned = plan()
    assert "serving-identity-headrace" in planned["serving-identity-headrace-jobs"].dependencies


def test_pods_may_use_the_container_and_nothing_else(plan: Planner) -> None:
    planned = plan()
    of_pods = [
        r.inputs
        for r in planned.resources.values()
        if r.inputs.get("principalId") == "serving-identity-principal" and "RoleAssignment" in r.token
    ]
    assert [(r["roleDefinitionId"], r["scope"]) for r in of_pods] == [
        (f"{ROLES}/ba92f5b4-2d11-453d-a403-e96b0029c9fe", "bucket-container-id")
    ]


def test_the_first_user_stays_administrator(plan: Planner) -> None:
    admin = plan()["admin"]
    assert admin.inputs["principalId"] == "my-objectId"
    assert admin.inputs["scope"] == "cluster-id"
    assert admin.inputs["roleDefinitionId"] == f"{ROLES}/b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b"
    assert admin.ignored == ["principalId"]


def test_audit_logs_are_kept_and_do_not_outlive_the_cluster(plan: Planner) -> None:
    logs = plan()["audit-logs"]
    assert logs.inputs["resourceUri"] == "cluster-id"
    assert [(x["category"], x["enabled"]) for x in logs.inputs["logs"]] == [
        ("kube-audit-admin", True),
        ("guard", True),
    ]
    assert logs.deleted_with == ""


KEPT = {"resource-group", "cluster", "bucket", "bucket-container"}


@pytest.mark.parametrize("protection", [True, False])
def test_resources_with_data_are_protected_on_request(plan: Planner, protection: bool) -> None:
    planned = plan(OPEN.model_copy(update={"deletion_protection": protection}))
    assert {n for n, r in planned.resources.items() if r.protect} == (KEPT if protection else set())
    assert ("bucket-lock" in planned.resources) is protection
    if protection:
        assert planned["bucket-lock"].inputs["scope"] == "bucket-id"
        assert planned["bucket-lock"].inputs["level"] == "CanNotDelete"
        # It would hold the role: `purge` takes the lock first.
        assert "serving-bucket" in planned["bucket-lock"].dependencies


def test_a_resource_group_of_yours_is_used(plan: Planner) -> None:
    assert plan().asked == {"resourceGroupName": "resource-group", "resourceName": "cluster"}
    planned = plan(azure=AZURE.model_copy(update={"resource_group": "mine"}))
    assert "resource-group" not in planned.resources
    assert planned.asked == {"resourceGroupName": "mine", "resourceName": "cluster"}
    assert {r.inputs["resourceGroupName"] for r in planned.resources.values() if "resourceGroupName" in r.inputs} == {
        "mine"
    }


def test_the_kubeconfig_is_secret_and_holds_no_credential(plan: Planner) -> None:
    planned = plan()
    assert planned.secret
    text = planned.outputs["kubeconfig"]
    assert "planted" not in text
    content = yaml.safe_load(text)
    assert content["clusters"][0]["cluster"] == {"server": "https://aks.invalid:443", "ca": "Zm9v"}
    [user] = content["users"]
    assert user["user"]["exec"]["command"] == "kubelogin"
    assert user["user"]["exec"]["args"] == [
        "get-token",
        *("--login", "azurecli"),
        *("--server-id", "6dae42f8-4368-4678-94ff-3960e28e3630"),
        *("--environment", "AzurePublicCloud"),
    ]
    [context] = content["contexts"]
    assert content["current-context"] == context["name"]
    assert context["context"] == {"cluster": content["clusters"][0]["name"], "user": user["name"]}


def test_the_cluster_outputs_what_the_stack_needs(plan: Planner) -> None:
    planned = plan()
    [made] = planned.made
    assert planned.outputs["identifier"] == "uid"
    assert planned.outputs["annotations"] == {"azure.workload.identity/client-id": "serving-identity-client"}
    assert made.pod_labels == {"azure.workload.identity/use": "true"}
    assert made.data_uri == f"az://{bucket_name(SUBSCRIPTION, 'prod')}/data"
    assert [(e.cidr, e.port) for e in made.identity] == [("0.0.0.0/0", 443)]
    assert made.leftovers == LEFTOVERS
    assert made.owner._name == "cluster"
    assert {r._name for r in made.ready} == {
        "pool-cpu",
        "pool-gpu",
        "admin",
        "bucket-container",
        "serving-bucket",
        "serving-identity-headrace",
        "serving-identity-headrace-jobs",
    }


def test_a_first_preview_makes_no_azure_calls(plan: Planner) -> None:
    planned = plan(preview=True)
    assert planned.resources.keys() == plan().resources.keys()
    assert planned.calls == []


@pytest.mark.parametrize("stack", ["prod", "Team_A.prod", "a-very-long-name-of-a-stack-in-production" * 2])
def test_names_are_such_as_azure_takes(stack: str) -> None:
    assert bucket_name(SUBSCRIPTION, stack).isalnum()
    assert bucket_name(SUBSCRIPTION, stack).islower()
    assert len(bucket_name(SUBSCRIPTION, stack)) <= 24
    name = resource_name(stack)
    assert name.replace("-", "").isalnum()
    assert len(name) <= 54


def test_stacks_whose_names_begin_alike_have_buckets_of_their_own() -> None:
    assert bucket_name(SUBSCRIPTION, "production-eu") != bucket_name(SUBSCRIPTION, "production-us")
    assert bucket_name(SUBSCRIPTION, "prod") != bucket_name("99999999-2222-3333-4444-555555555555", "prod")


def test_a_new_cluster_is_used_once_its_administrators_role_has_taken_effect(plan: Planner) -> None:
    planned = plan()
    assert planned.waited == [planned.outputs["kubeconfig"]]
    assert plan(preview=True).waited == []


def test_further_administrators_get_the_role_of_the_first(plan: Planner) -> None:
    group = "22222222-3333-4444-5555-666666666666"
    planned = plan(OPEN.model_copy(update={"admins": (group,)}))
    [admin] = [r for name, r in planned.resources.items() if name.startswith("admin-")]
    assert admin.inputs["principalId"] == group
    assert admin.inputs["roleDefinitionId"] == planned["admin"].inputs["roleDefinitionId"]
    assert admin.inputs["scope"] == "cluster-id"
