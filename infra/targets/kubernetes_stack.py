"""The resources of a stack in its cluster: add-ons, secrets, database, models and the chart charts/headrace."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import pulumi
import pulumi_kubernetes as k8s
import yaml
from pulumi import Input, Output, ResourceOptions, ResourceTransform, ResourceTransformArgs, ResourceTransformResult
from pydantic import SecretStr

from infra import chart, edge, kserve
from infra.addons import ADDONS, monitoring, postgres
from infra.config import StackConfig
from infra.config_loader import DATABASE_PASSWORD
from infra.layout import CHECKOUT
from infra.resources.declared import InferenceEndpoint, RayClusterUpgrade
from infra.resources.provisioned_cluster import ProvisionedCluster
from infra.scheduling import starts, upgrade
from infra.stack_secrets import KubernetesSecrets
from infra.targets.addon import InstalledAddon, labelled_namespace
from infra.targets.target import Target
from infra.versions import KSERVE_RUNTIMES, KUBERNETES_AT_LEAST
from serving.config import KServeModel

CHART = CHECKOUT / "charts/headrace"
SECRET = "headrace-secrets"  # noqa: S105 (a name)
STORE_S = 300
"""A secret store answers within seconds unless it is missing or rejects; its operator's messages are shown."""
DELETION_S = 1200
"""A volume is deleted after its last pod has ended, which may take 11 minutes (the chart's `streams.drainSeconds` and
one more), but Pulumi's default timeout is ten."""


@dataclass(frozen=True)
class ClusterAccess:
    """Identity and credentials of the stack's cluster."""

    identifier: Input[str]
    """Identity of the cluster, which changes only with the cluster."""
    path: str = ""
    """Path of a kubeconfig, which keeps the credentials out of the state."""
    content: Output[str] | None = None
    """Content of a kubeconfig that is not in a file. Secret."""
    context: str = ""
    """Context in the kubeconfig; empty: its current one."""


class KubernetesStack(pulumi.ComponentResource):
    """All resources of one stack in the cluster."""

    def __init__(
        self,
        name: str,
        config: StackConfig,
        config_secrets: Mapping[str, SecretStr],
        stack: str,
        access: ClusterAccess | None,
        provisioned: ProvisionedCluster | None = None,
    ) -> None:
        """`access` is None if manifests are rendered; `provisioned` is the cluster if the stack created it."""
        # The policy pack holds the nodes against it.
        budget = {"maxPerMonth": config.cost.max_per_month, "prices": config.cluster.prices}
        super().__init__("headrace:kubernetes:Stack", name, budget if config.cost.max_per_month else None)
        self._config = config
        self._stack = stack
        self._access = access
        self._provisioned = provisioned
        self.provider = self._kubernetes()
        # No resource has `deleted_with` for the cluster: volumes and load balancers would outlive it.
        self._own = ResourceOptions(
            parent=self,
            provider=self.provider,
            depends_on=[provisioned.owner, *provisioned.ready] if provisioned else [],
        )
        self.addons = self._addons()
        self.namespace = labelled_namespace(
            "namespace", config.kubernetes.namespace, stack, "restricted", self._options(*self.addons.values())
        )
        self.secrets = KubernetesSecrets(config, config_secrets, ResourceOptions(parent=self))
        external = config.kubernetes.external_secret is not None
        self.secret = [] if external else [self._secret(SECRET, self.secrets.values)]
        self.database = self._database()
        self.models = self._models()
        self.edge = self._edge()
        self.chart = self._chart()
        self.upgrade = self._upgrade()
        self.url = chart.url(config)
        self.register_outputs({"url": self.url})

    @property
    def target(self) -> Target:
        """The application's addresses and credentials."""
        dashboards = monitoring.urls(self._config)
        return Target(
            url=self.url,
            api_key=self.secrets.api_key,
            prometheus_url=dashboards.get("prometheus", ""),
            dashboards=dashboards,
        )

    def _kubernetes(self) -> k8s.Provider:
        own = ResourceOptions(parent=self)
        if self._access is None:
            # An empty kubeconfig overrides the one of the environment.
            target = str((CHECKOUT / self._config.kubernetes.render).resolve())
            return k8s.Provider("cluster", render_yaml_to_directory=target, kubeconfig="", opts=own)
        return k8s.Provider(
            "cluster",
            kubeconfig=self._access.content or self._access.path,
            context=self._access.context or None,
            cluster_identifier=self._access.identifier,
            suppress_helm_hook_warnings=True,
            opts=own,
        )

    def _addons(self) -> dict[str, InstalledAddon]:
        """Installs the add-ons, unless manifests are rendered, which Helm releases do not support."""
        installed: dict[str, InstalledAddon] = {}
        for addon in ADDONS:
            if addon.choice(self._config) == "install" and not self._config.kubernetes.render:
                before = [installed[name] for name in addon.after if name in installed]
                installed[addon.name] = InstalledAddon(addon, self._config, self._stack, self._options(*before))
        return installed

    def _secret(self, name: str, values: Mapping[str, Output[str]], type: str = "Opaque") -> k8s.core.v1.Secret:
        return k8s.core.v1.Secret(
            name,
            metadata=self._metadata(name),
            type=type,
            string_data=values,
            opts=self._options(self.namespace),
        )

    def _database(self) -> list[pulumi.Resource]:
        """Creates the PostgreSQL cluster of CloudNativePG, closed to all who need not reach it."""
        if self._config.database.kind != "cloudnativepg":
            return []
        owner = {"username": Output.from_input(postgres.DATABASE), "password": self.secrets.values[DATABASE_PASSWORD]}
        secret = self._secret(postgres.OWNER_SECRET, owner, "kubernetes.io/basic-auth")
        policy = k8s.networking.v1.NetworkPolicy(
            postgres.POLICY,
            metadata=self._metadata(postgres.POLICY),
            spec=postgres.network_policy(self._config),
            opts=self._options(self.namespace),
        )
        metadata = self._metadata(postgres.CLUSTER)
        timeout = str(starts.job_seconds(self._config))
        metadata["annotations"] = {"pulumi.com/waitFor": "condition=Ready", "pulumi.com/timeoutSeconds": timeout}
        cluster = k8s.apiextensions.CustomResource(
            postgres.CLUSTER,
            api_version="postgresql.cnpg.io/v1",
            kind="Cluster",
            metadata=metadata,
            spec=postgres.cluster(self._config),
            opts=self._options(self.namespace, secret, policy),
        )
        return [cluster]

    def _edge(self) -> list[pulumi.Resource]:
        """Creates the issuer of the API's certificate, and what Envoy does with connections."""
        return [
            k8s.apiextensions.CustomResource(
                f"edge-{document['kind'].lower()}",
                api_version=document["apiVersion"],
                kind=document["kind"],
                metadata={**self._metadata(document["metadata"]["name"]), **document["metadata"]},
                spec=document["spec"],
                opts=self._options(self.namespace),
            )
            for document in edge.objects(self._config)
        ]

    def _models(self) -> dict[str, Output[str] | str]:
        """Creates the objects of KServe models; returns the models' addresses by name."""
        config, namespace = self._config, self._config.kubernetes.namespace
        images = {"llamacpp": chart.image_reference(config.image)}
        images |= {name: config.mirror.image(image) for name, image in KSERVE_RUNTIMES.items()}
        objects: list[pulumi.Resource] = []
        revisions: dict[str, str] = {}
        for document in kserve.objects(config, namespace, images, _product_version()):
            kind, name = document["kind"], document["metadata"]["name"]
            resource = k8s.apiextensions.CustomResource(
                f"{kind.lower()}-{name}",
                api_version=document["apiVersion"],
                kind=kind,
                metadata=document["metadata"],
                spec=document["spec"],
                opts=self._options(self.namespace, *(objects if kind == "InferenceService" else ())),
            )
            objects.append(resource)
            revisions[name] = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
        return {
            model.name: self._address(model, revisions.get(model.service, ""), objects)
            for model in kserve.kserve_models(config)
            if not model.url
        }

    def _address(self, model: KServeModel, revision: str, objects: list[pulumi.Resource]) -> Output[str] | str:
        """Returns a model's address: from its status, or that of its future Service if manifests are rendered."""
        namespace = kserve.service_namespace(model, self._config.kubernetes.namespace)
        if self._access is None:
            return f"http://{model.service}-predictor.{namespace}.svc.cluster.local"
        endpoint = InferenceEndpoint(
            f"inference-endpoint-{model.name}",
            kubeconfig=self._access.path,
            content=self._access.content or Output.secret(""),
            context=self._access.context,
            namespace=namespace,
            service=model.service,
            address=model.address,
            timeout_s=model.ready_timeout_s,
            revision=revision,
            opts=ResourceOptions(parent=self, depends_on=[self.namespace, *objects]),
        )
        return endpoint.url

    def _chart(self) -> pulumi.Resource:
        config = self._config
        values = chart.values(config, SECRET, CHECKOUT, self.models, self._provisioned)
        self._pod_values = {name: value for name, value in values.items() if name not in ("catalog", "knowledge")}
        opts = ResourceOptions.merge(
            self._options(self.namespace, *self.secret, *self.database, *self.edge),
            ResourceOptions(transforms=[await_annotations(config)]),
        )
        if config.kubernetes.render:
            # The newer Chart resource needs a cluster for its version and API discovery.
            return k8s.helm.v3.Chart(
                chart.RELEASE,
                k8s.helm.v3.LocalChartOpts(
                    path=str(CHART),
                    namespace=config.kubernetes.namespace,
                    values=values,
                    kube_version=".".join(map(str, KUBERNETES_AT_LEAST)),
                ),
                opts=opts,
            )
        return k8s.helm.v4.Chart(
            "headrace",
            chart=str(CHART),
            name=chart.RELEASE,
            namespace=config.kubernetes.namespace,
            values=values,
            opts=opts,
        )

    def _upgrade(self) -> RayClusterUpgrade | None:
        """Ends the old Ray cluster when its specification has changed, if upgrades are in place."""
        config = self._config
        if self._access is None or upgrade.strategy(config) != "in_place":
            return None
        return RayClusterUpgrade(
            "ray-cluster-upgrade",
            kubeconfig=self._access.path,
            content=self._access.content or Output.secret(""),
            context=self._access.context,
            namespace=config.kubernetes.namespace,
            service=chart.RELEASE,
            timeout_s=DELETION_S + starts.ready_seconds(config),
            revision=self._revision(),
            opts=ResourceOptions(parent=self, depends_on=[self.chart]),
        )

    def _revision(self) -> str:
        """Returns a digest of what determines the specification of pods: values that are not outputs, and the chart."""
        digest = hashlib.sha256(json.dumps(self._pod_values, sort_keys=True, default=str).encode())
        for file in sorted(path for path in CHART.rglob("*") if path.is_file()):
            digest.update(file.read_bytes())
        return digest.hexdigest()[:16]

    def _metadata(self, name: str) -> dict[str, Any]:
        return {"name": name, "namespace": self._config.kubernetes.namespace, "labels": chart.OBJECT_LABELS}

    def _options(self, *resources: pulumi.Resource) -> ResourceOptions:
        return ResourceOptions.merge(self._own, ResourceOptions(depends_on=list(resources)))


def await_annotations(config: StackConfig) -> ResourceTransform:
    """Returns what adds annotations for Pulumi, by which `up` waits until the application answers.

    They are not part of the chart.
    """
    by_type = {
        "kubernetes:ray.io/v1:RayService": {
            "pulumi.com/waitFor": '["condition=Ready", "condition=UpgradeInProgress=False"]',
            "pulumi.com/timeoutSeconds": str(starts.ready_seconds(config)),
        },
        "kubernetes:external-secrets.io/v1:ExternalSecret": {
            "pulumi.com/waitFor": "condition=Ready",
            "pulumi.com/timeoutSeconds": str(STORE_S),
        },
        "kubernetes:batch/v1:Job": {"pulumi.com/timeoutSeconds": str(starts.job_seconds(config))},
        # The provider waits for claims of such classes to be pending first, and misses those that are bound at once.
        # https://github.com/pulumi/pulumi-kubernetes/blob/v4.25.0/provider/pkg/await/awaiters.go
        "kubernetes:core/v1:PersistentVolumeClaim": {
            "pulumi.com/skipAwait": "true",
            "pulumi.com/timeoutSeconds": str(DELETION_S),  # timeout of its deletion
        },
    }

    def add(args: ResourceTransformArgs) -> ResourceTransformResult | None:
        if not (wanted := by_type.get(args.type_)):
            return None
        props = cast(dict[str, Any], args.props)
        metadata = dict(props.get("metadata") or {})
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **wanted}
        return ResourceTransformResult({**props, "metadata": metadata}, args.opts)

    return add


def _product_version() -> str:
    """Returns the product's version from the chart."""
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"])
