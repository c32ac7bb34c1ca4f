"""Google Kubernetes Engine: network, cluster, node pools, bucket, and the serving pods' access to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_gcp as gcp
from pulumi import Input, Output, ResourceOptions

from infra.cloud_config import Cluster
from infra.ingress_config import Ingress
from infra.nodes.pools import NodePool
from infra.resources.provisioned_cluster import (
    SERVICE_ACCOUNTS,
    IdentityEndpoint,
    ProvisionedCluster,
    admin_resource,
    kubeconfig,
)
from infra.targets.gcp import cluster, limits, nodes
from infra.targets.gcp.bucket import data_bucket, readers
from infra.targets.gcp.entrance import entrance
from infra.targets.gcp.settings import Gcp

APIS = ("cloudkms", "cloudresourcemanager", "compute", "container", "iam", "iamcredentials", "storage")
"""APIs of Google Cloud that must be enabled in the project."""

NODE_ROLES = {
    "node-defaults": "roles/container.defaultNodeServiceAccount",
    "node-images": "roles/artifactregistry.reader",
}
"""Roles of nodes in the project, to write logs and metrics and to pull images."""

ADMIN_ROLE = "roles/container.admin"
"""https://cloud.google.com/kubernetes-engine/docs/how-to/iam"""

METADATA_SERVER = (IdentityEndpoint("169.254.169.254/32", 80), IdentityEndpoint("169.254.169.254/32", 8080))
"""Endpoints that issue the pods' tokens in Dataplane V2 (/kubernetes-engine/docs/how-to/network-policy)."""

_KUBE_SYSTEM = {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}
AUTOPILOT_DNS: tuple[dict[str, Any], ...] = (
    *(
        {"namespaceSelector": _KUBE_SYSTEM, "podSelector": {"matchLabels": {"k8s-app": app}}}
        for app in ("kube-dns", "node-local-dns")
    ),
    *({"ipBlock": {"cidr": cidr}} for cidr in ("169.254.20.10/32", "169.254.169.254/32")),
)
"""Who answers DNS requests in Autopilot: its cache on every node, which cannot be disabled, and Cloud DNS.

https://docs.cloud.google.com/kubernetes-engine/docs/how-to/nodelocal-dns-cache; a selector of pods matches neither
address: https://github.com/tektoncd/operator/issues/4000.
"""

NAT_PORTS = (512, 16_384)
"""Ports that Cloud NAT gives each node at first and at most, powers of two; an address of it has 64,512.

https://docs.cloud.google.com/nat/docs/ports-and-addresses
"""

STORAGE_CLASS = "standard-rwo"
KEY_ROTATION = f"{90 * 24 * 3600}s"


class GkeCluster(pulumi.ComponentResource):
    """All Google Cloud resources of one stack."""

    def __init__(
        self,
        name: str,
        settings: Gcp,
        cluster: Cluster,
        pools: Sequence[NodePool],
        stack: str,
        namespace: str,
        webhooks: Sequence[int],
        ingress: Ingress,
        weights: Sequence[str],
    ) -> None:
        super().__init__("headrace:gcp:Cluster", name)
        self._settings = settings
        self._config = cluster
        self._stack = stack
        self._labels = {**cluster.tags, limits.STACK_LABEL: limits.resource_name(stack, longest=63)}
        # Do not use the default project of the credentials.
        provider = gcp.Provider(
            "gcp", project=settings.project, region=settings.region, opts=ResourceOptions(parent=self)
        )
        self._own = ResourceOptions(parent=self, provider=provider)
        services = self._services()
        # Names must be unique, so resources are deleted before they are replaced.
        self._own = self._options(depends_on=services, delete_before_replace=True)
        network, subnet, routes = self._network()
        account, granted = self._node_account()
        if webhooks and not cluster.network.existing:
            routes = [*routes, self._webhooks(network, account, webhooks)]
        self.cluster = self._cluster(network, subnet, account, [*routes, *granted])
        self.pools = self._pools(pools, account)
        self._admins()
        self.bucket = data_bucket(
            limits.bucket_name(stack, settings.project),
            settings.region,
            self._labels,
            cluster.deletion_protection,
            self._own,
        )
        self.identity, bound = self._identity(namespace, weights)
        self.entrance = entrance(ingress, self._resource_name("entrance"), settings.region, self._own)
        self.ready = [*self.pools, *bound, *self.entrance.ready]
        self.kubeconfig = self._kubeconfig()
        self.register_outputs({"kubeconfig": self.kubeconfig})

    def _services(self) -> list[pulumi.Resource]:
        """Enables the APIs. They stay enabled, since others in the project may use them too."""
        return [
            gcp.projects.Service(
                f"service-{service}", service=f"{service}.googleapis.com", disable_on_destroy=False, opts=self._own
            )
            for service in APIS
        ]

    def _network(self) -> tuple[Input[str], Input[str], list[pulumi.Resource]]:
        """Returns the network, the subnet, and the NAT through which private nodes reach the internet."""
        adopted = self._config.network
        if adopted.existing:
            return adopted.existing, adopted.subnets[0], []
        name = self._resource_name()
        network = gcp.compute.Network("network", name=name, auto_create_subnetworks=False, opts=self._own)
        nodes, pods, services = map(str, limits.address_ranges(adopted.cidr))
        secondary = gcp.compute.SubnetworkSecondaryIpRangeArgs
        subnet = gcp.compute.Subnetwork(
            "subnet",
            name=name,
            network=network.id,
            region=self._settings.region,
            ip_cidr_range=nodes,
            secondary_ip_ranges=[
                secondary(range_name=cluster.PODS, ip_cidr_range=pods),
                secondary(range_name=cluster.SERVICES, ip_cidr_range=services),
            ],
            private_ip_google_access=True,
            opts=self._own,
        )
        router = gcp.compute.Router(
            "router", name=name, network=network.id, region=self._settings.region, opts=self._own
        )
        nat = gcp.compute.RouterNat(
            "nat",
            name=name,
            router=router.name,
            region=self._settings.region,
            nat_ip_allocate_option="AUTO_ONLY",
            source_subnetwork_ip_ranges_to_nat="LIST_OF_SUBNETWORKS",
            subnetworks=[
                gcp.compute.RouterNatSubnetworkArgs(name=subnet.id, source_ip_ranges_to_nats=["ALL_IP_RANGES"])
            ],
            # The default, 64 connections of a node to one address, is less than a pull of images and weights opens.
            enable_dynamic_port_allocation=True,
            enable_endpoint_independent_mapping=False,
            min_ports_per_vm=NAT_PORTS[0],
            max_ports_per_vm=NAT_PORTS[1],
            log_config=gcp.compute.RouterNatLogConfigArgs(enable=True, filter="ERRORS_ONLY"),
            opts=self._own,
        )
        return network.id, subnet.id, [nat]

    def _node_account(self) -> tuple[gcp.serviceaccount.Account, list[pulumi.Resource]]:
        account = gcp.serviceaccount.Account(
            "node-account",
            account_id=self._resource_name("nodes", 30),
            display_name=f"Nodes of the Headrace stack {self._stack}",
            opts=self._own,
        )
        granted: list[pulumi.Resource] = [
            gcp.projects.IAMMember(
                name,
                project=self._settings.project,
                role=role,
                member=account.member,
                opts=self._own,
            )
            for name, role in NODE_ROLES.items()
        ]
        return account, granted

    def _webhooks(
        self, network: Input[str], account: gcp.serviceaccount.Account, ports: Sequence[int]
    ) -> gcp.compute.Firewall:
        """Opens ports of add-ons' webhooks.

        The API server calls them through GKE's konnectivity agents, which run on the nodes, or from its address in
        their subnet.
        """
        nodes, pods, _ = map(str, limits.address_ranges(self._config.network.cidr))
        return gcp.compute.Firewall(
            "webhooks",
            name=self._resource_name("webhooks"),
            network=network,
            direction="INGRESS",
            source_ranges=[nodes, pods],
            target_service_accounts=[account.email],
            allows=[gcp.compute.FirewallAllowArgs(protocol="tcp", ports=list(map(str, ports)))],
            opts=self._own,
        )

    def _admins(self) -> None:
        """Makes the administrators of the configuration ones of the project's clusters."""
        for admin in self._config.admins:
            gcp.projects.IAMMember(
                admin_resource(admin),
                project=self._settings.project,
                role=ADMIN_ROLE,
                member=admin,
                opts=self._own,
            )

    def _encryption(self) -> tuple[gcp.kms.CryptoKey, pulumi.Resource]:
        """Creates the encryption key of Kubernetes' secrets, and lets GKE use it.

        Google Cloud never deletes key rings. Their names are generated, so that the stack can be recreated.
        """
        ring = gcp.kms.KeyRing("key-ring", location=self._settings.region, opts=self._own)
        key = gcp.kms.CryptoKey(
            "key", key_ring=ring.id, rotation_period=KEY_ROTATION, labels=self._labels, opts=self._own
        )
        agent = gcp.projects.ServiceIdentity("gke-agent", service="container.googleapis.com", opts=self._own)
        granted = gcp.kms.CryptoKeyIAMMember(
            "key-gke",
            crypto_key_id=key.id,
            role="roles/cloudkms.cryptoKeyEncrypterDecrypter",
            member=agent.member,
            opts=self._own,
        )
        return key, granted

    def _cluster(
        self,
        network: Input[str],
        subnet: Input[str],
        account: gcp.serviceaccount.Account,
        before: Sequence[pulumi.Resource],
    ) -> gcp.container.Cluster:
        key, key_granted = self._encryption()
        wanted = cluster.cluster_arguments(
            self._settings,
            self._config,
            name=self._resource_name(),
            labels=self._labels,
            network=network,
            subnet=subnet,
            account=account.email,
            key=key.id,
        )
        return gcp.container.Cluster(
            "cluster",
            wanted,
            opts=self._options(
                depends_on=[*before, key_granted],
                # GKE's own protection applies only after nodes and roles are deleted; Pulumi's applies before.
                protect=self._config.deletion_protection,
                # Arguments of the initial pool, which is removed right after creation.
                ignore_changes=["nodeConfig", "initialNodeCount"],
            ),
        )

    def _pools(self, pools: Sequence[NodePool], account: gcp.serviceaccount.Account) -> list[gcp.container.NodePool]:
        """Creates pools without GPUs first: GKE taints nodes with GPUs only if other nodes exist."""
        plain = [self._pool(pool, account, []) for pool in pools if not pool.gpus]
        return [*plain, *(self._pool(pool, account, plain) for pool in pools if pool.gpus)]

    def _pool(
        self, pool: NodePool, account: gcp.serviceaccount.Account, after: Sequence[pulumi.Resource]
    ) -> gcp.container.NodePool:
        return gcp.container.NodePool(
            f"pool-{pool.name}",
            nodes.node_pool(pool, self._settings, self.cluster.name, account.email, self._labels),
            opts=self._options(
                depends_on=list(after),
                deleted_with=self.cluster,
                ignore_changes=["nodeCount", "initialNodeCount"] if pool.autoscaled else [],
            ),
        )

    def _identity(self, namespace: str, weights: Sequence[str]) -> tuple[str, list[pulumi.Resource]]:
        """Returns the e-mail of the serving pods' service account, and its grants.

        The pods' own principals are not used: they contain the project's number, which is unknown here.
        """
        name = self._resource_name("pods", 30)
        account = gcp.serviceaccount.Account(
            "pod-account",
            account_id=name,
            display_name=f"Serving pods of the Headrace stack {self._stack}",
            opts=self._own,
        )
        bound: list[pulumi.Resource] = [
            gcp.serviceaccount.IAMMember(
                f"identity-{pods}",
                service_account_id=account.name,
                role="roles/iam.workloadIdentityUser",
                member=f"serviceAccount:{cluster.workload_pool(self._settings)}[{namespace}/{pods}]",
                # The workload identity pool is created with the project's first cluster.
                opts=self._options(depends_on=[self.cluster]),
            )
            for pods in SERVICE_ACCOUNTS
        ]
        bound.append(
            gcp.storage.BucketIAMMember(
                "bucket-pods",
                bucket=self.bucket.name,
                role="roles/storage.objectUser",
                member=account.member,
                opts=self._own,
            )
        )
        bound += readers(weights, account.member, self._own)
        return f"{name}@{self._settings.project}.iam.gserviceaccount.com", bound

    def _kubeconfig(self) -> Output[str]:
        sign_in = {
            "command": "gke-gcloud-auth-plugin",
            "installHint": "gcloud components install gke-gcloud-auth-plugin",
            "interactiveMode": "Never",
            "provideClusterInfo": True,
        }

        def content(found: Sequence[str]) -> str:
            cluster = {"server": f"https://{found[0]}", "certificate-authority-data": found[1]}
            return kubeconfig(self._resource_name(), cluster, sign_in)

        authority = self.cluster.master_auth.cluster_ca_certificate
        return Output.secret(Output.all(self.cluster.endpoint, authority).apply(content))

    def _resource_name(self, part: str = "", longest: int = 40) -> str:
        return limits.resource_name(self._stack, part, longest)

    def _options(self, **options: Any) -> ResourceOptions:
        return ResourceOptions.merge(self._own, ResourceOptions(**options))


def leftovers(settings: Gcp, cluster: str) -> list[str]:
    """Returns the resources that `purge` does not delete, each with a command that lists them."""
    show = f"`gcloud {{}} --project {settings.project} --filter={{}}`"
    return [
        "disks of volumes that still had a claim: "
        + show.format("compute disks list", f"labels.goog-k8s-cluster-name={cluster}"),
        "load balancers of Services and Gateways, and their firewall rules and network endpoint groups: "
        + ", ".join(
            show.format(f"compute {kind} list", pattern)
            for kind, pattern in (
                ("forwarding-rules", f"description~{cluster}"),
                ("network-endpoint-groups", "name~^k8s"),
                ("firewall-rules", f"network~{cluster}"),
            )
        ),
        "the key ring of Kubernetes' secrets, which Google Cloud never deletes and does not charge for",
        "the enabled APIs of the project",
    ]


def provision_gke(
    settings: Gcp,
    cluster: Cluster,
    pools: Sequence[NodePool],
    stack: str,
    namespace: str,
    webhooks: Sequence[int] = (),
    ingress: Ingress = Ingress(),  # noqa: B008 (it is frozen)
    weights: Sequence[str] = (),
) -> ProvisionedCluster:
    """Plans all Google Cloud resources of the stack; nodes accept calls of the API server at ports `webhooks` too."""
    planned = GkeCluster("gke", settings, cluster, pools, stack, namespace, webhooks, ingress, weights)
    return ProvisionedCluster(
        kubeconfig=planned.kubeconfig,
        identifier=planned.cluster.id,
        owner=planned.cluster,
        ready=[planned.cluster, *planned.ready],
        storage_class=STORAGE_CLASS,
        data_uri=f"gs://{limits.bucket_name(stack, settings.project)}",
        service_account_annotations={"iam.gke.io/gcp-service-account": planned.identity},
        identity=METADATA_SERVER,
        entrance=planned.entrance,
        dns=AUTOPILOT_DNS if settings.autopilot else (),
        leftovers=leftovers(settings, limits.resource_name(stack)),
    )
