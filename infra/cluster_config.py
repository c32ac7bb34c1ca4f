"""Settings of a stack on Kubernetes: what `headrace:*` says about the cluster, pools, state, ingress and add-ons."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from infra.secret_config import ExternalSecret
from serving.config import SecretRef, Strict

Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
"""Name of a Kubernetes object (RFC 1123 label)."""

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]
"""Kubernetes' notation of an amount, for example 500m or 4Gi."""

Host = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]
"""A DNS name."""

MOUNTED = "/etc/headrace/secrets"
"""Where pods find the stack's secrets."""

SERVING = "serving"
"""The pool of what names no other."""


class Kubernetes(Strict):
    """The cluster, and what is used of it."""

    kubeconfig: str = Field(
        default="", description="path, or the content (encrypted); empty: $KUBECONFIG, then ~/.kube/config"
    )
    context: str = Field(default="", description="context in the kubeconfig; empty: its current one")
    namespace: Label = "headrace"
    storage_class: str = Field(default="", description="of every volume that names no other; empty: the default class")
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    source_ranges: tuple[IPv4Network, ...] = Field(
        default=(), description="who may reach a Service of type NodePort or LoadBalancer, for example 10.0.0.0/8"
    )
    key_revision: int = Field(default=1, ge=1, description="another number makes another API key")
    external_secret: ExternalSecret | None = Field(
        default=None, description="where the secrets come from, instead of being made by the stack"
    )
    preflight: bool = Field(default=True, description="ask the cluster, before anything is made, whether it fits")
    render: str = Field(default="", description="folder to write manifests into, instead of installing them")


class Image(Strict):
    """The serving image. A digest is exact; a tag can be moved under a running stack."""

    registry: str = Field(default="", pattern=r"^[a-z0-9.:-]*$", description="host (and port) of the registry")
    repository: str = Field(default="headrace/serving", pattern=r"^[a-z0-9._/-]+$")
    tag: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    digest: str = Field(default="", pattern=r"^(sha256:[0-9a-f]{64})?$")
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    pull_secrets: tuple[Label, ...] = Field(default=(), description="Secrets of type dockerconfigjson in the namespace")


class Toleration(Strict):
    """A taint that a pool's pods tolerate."""

    key: str = Field(min_length=1, max_length=316)
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


class Pool(Strict):
    """A group of equal Ray worker pods, on nodes of one kind."""

    name: Label
    replicas: int = Field(default=1, ge=0, le=1000)
    min_replicas: int | None = Field(default=None, ge=0, le=1000, description="with max_replicas: Ray scales the pool")
    max_replicas: int | None = Field(default=None, ge=1, le=1000)
    cpus: float = Field(default=2, gt=0, le=1024, description="of one pod")
    reserved_cpus: float | None = Field(
        default=None,
        gt=0,
        le=1024,
        description="of the node, for one pod; fewer than cpus shares the node's with others",
    )
    memory: Quantity = Field(default="4Gi", description="of one pod")
    gpus: int = Field(default=0, ge=0, le=16, description="of one pod")
    accelerator: str = Field(default="", description="the GPU's product as nodes are labelled: nvidia.com/gpu.product")
    image: Image | None = Field(default=None, description="instead of headrace:image, for example one with vLLM")
    node_pool: Label | None = Field(
        default=None, description="the pool of headrace:node_pools whose nodes it runs on; needed with gpus"
    )
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()

    @model_validator(mode="after")
    def _range(self) -> Pool:
        low, high = self.min_replicas, self.max_replicas
        if (low is None) != (high is None):
            raise ValueError("needs both min_replicas and max_replicas, or neither")
        if low is not None and high is not None and not low <= self.replicas <= high:
            raise ValueError(f"needs min_replicas <= replicas <= max_replicas, and has {low}, {self.replicas}, {high}")
        if self.reserved_cpus is not None and self.reserved_cpus > self.cpus:
            raise ValueError(f"reserves {self.reserved_cpus:g} cpus and may use {self.cpus:g}")
        if self.accelerator and not self.gpus:
            raise ValueError("names an accelerator and has no gpus")
        return self

    @property
    def selector(self) -> dict[str, str]:
        """Labels of the nodes that its pods may run on."""
        product = {"nvidia.com/gpu.product": self.accelerator} if self.accelerator else {}
        return {**product, **self.node_selector}


class Database(Strict):
    """PostgreSQL: one that CloudNativePG runs in the cluster, or one that you have."""

    kind: Literal["cloudnativepg", "url"] = "cloudnativepg"
    url: str = Field(default="", description="postgresql://user@host:port/database, without a password")
    password: SecretRef | None = Field(default=None, description="of a database by URL (encrypted)")
    instances: int = Field(default=1, ge=1, le=9, description="of CloudNativePG: one primary, the others replicas")
    storage: Quantity = "10Gi"
    storage_class: str = ""

    @model_validator(mode="after")
    def _one_kind(self) -> Database:
        if self.kind == "url" and not self.url:
            raise ValueError("needs url: postgresql://user@host/database")
        if self.kind == "cloudnativepg" and (self.url or self.password):
            raise ValueError("has url or password, which belong to kind: url")
        return self


class Data(Strict):
    """Where files and collections lie: a volume that all pods share, or an object store."""

    uri: str = Field(
        default="",
        pattern=r"^((s3|gs)://[^\s/][^\s]*|az://[^\s/]+/[^\s/][^\s]*)?$",
        description="s3:// or gs://bucket/prefix, or az://account/container/prefix; empty: a volume",
    )
    endpoint: str = Field(
        default="", pattern=r"^(https?://[^\s]+)?$", description="of an object store that is not the cloud's own"
    )
    credentials: str = Field(
        default="",
        description="Secret whose key `credentials` is an AWS shared credentials file, or the key of a Google service "
        "account; empty: the pods' workload identity",
    )
    storage: Quantity = "20Gi"
    storage_class: str = ""
    access_mode: Literal["ReadWriteMany", "ReadWriteOnce"] = Field(
        default="ReadWriteMany", description="ReadWriteOnce keeps all that uses it on one node"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Data:
        if not self.uri and (self.endpoint or self.credentials):
            raise ValueError("has endpoint or credentials, which belong to a uri")
        if self.uri.startswith("az://") and self.credentials:
            raise ValueError("has credentials; a container in Azure is opened by the pods' workload identity")
        return self


class Backup(Strict):
    """A CronJob that writes archives of all state into a volume that you have."""

    claim: str = Field(
        default="", max_length=253, description="claim of the volume, in the namespace; empty: no backups"
    )
    schedule: str = Field(default="15 3 * * *", min_length=9, description="as cron says it")
    time_zone: str = Field(default="Etc/UTC", min_length=1, description="of the schedule")
    key: str = Field(
        default="",
        max_length=253,
        description="Secret whose key `key` is a file that `python -m serving.store key` made, which seals archives; "
        "empty: they are not sealed",
    )

    @model_validator(mode="after")
    def _whole(self) -> Backup:
        if self.model_fields_set - {"claim"} and not self.claim:
            raise ValueError("needs claim: the volume that archives are written into")
        return self


class Tls(Strict):
    """The certificate of the host."""

    secret: str = Field(default="", description="an existing Secret of type kubernetes.io/tls")
    issuer: str = Field(default="", description="the ClusterIssuer of cert-manager that makes the certificate")

    @model_validator(mode="after")
    def _one(self) -> Tls:
        if bool(self.secret) == bool(self.issuer):
            raise ValueError("needs either secret or issuer")
        return self


class Ingress(Strict):
    """How people reach the API from outside the cluster."""

    kind: Literal["none", "ingress", "gateway"] = "none"
    host: Host | None = None
    class_name: str = Field(default="", description="IngressClass or GatewayClass; empty: the default one")
    gateway: str = Field(default="", description="an existing Gateway, as namespace/name; empty: one is made")
    listener: Host = Field(default="https", description="listener of that Gateway that ends TLS")
    tls: Tls | None = None

    @model_validator(mode="after")
    def _whole(self) -> Ingress:
        if self.kind == "none" and (self.host or self.tls or self.class_name or self.gateway):
            raise ValueError("has settings and kind none; use kind ingress or gateway")
        if self.kind != "none" and not self.host:
            raise ValueError("needs host")
        if self.kind == "ingress" and self.gateway:
            raise ValueError("names a gateway; use kind gateway")
        if "listener" in self.model_fields_set and not self.gateway:
            raise ValueError("has listener, which belongs to a gateway")
        if self.kind != "none" and not self.tls and not self.gateway:
            raise ValueError("needs tls: API keys must not travel in plain text")
        return self


class Existing(Strict):
    """An add-on that the cluster already has."""

    existing: str = Field(min_length=1, description="what it is called there, for people who read this")
    namespace: Label | None = Field(default=None, description="where it runs; KubeRay's must be named")


def _said(value: Any) -> Any:
    """YAML 1.1 readers take `off` for false."""
    return "off" if value is False else value


Choice = Annotated[
    Literal["auto", "install", "off"] | Existing,
    BeforeValidator(_said),
]


class Addons(Strict):
    """Platform add-ons: `auto` installs what the stack needs, `{existing: NAME}` leaves yours alone."""

    kuberay: Choice = "auto"
    gpu: Choice = "auto"
    gpu_driver: Literal["host", "operator"] = Field(
        default="host", description="who owns the driver: the node's image, or NVIDIA's GPU operator"
    )
    monitoring: Choice = "auto"
    certificates: Choice = "auto"
    gateway: Choice = "auto"
    postgres: Choice = "auto"
    kserve: Choice = "auto"


class Mirror(Strict):
    """Where images and charts come from in a cluster that cannot reach the internet."""

    images: dict[str, str] = Field(
        default_factory=dict, description="prefix of an image -> what stands there instead; the longest prefix wins"
    )
    charts: str = Field(default="", description="folder with the charts' archives, or oci://registry/path")

    @field_validator("images")
    @classmethod
    def _prefixes(cls, value: dict[str, str]) -> dict[str, str]:
        for prefix, other in value.items():
            if not prefix or not other or "://" in prefix + other:
                raise ValueError("maps prefixes such as `quay.io` to `registry.example.com/quay`, without a scheme")
        return {k.rstrip("/"): v.rstrip("/") for k, v in value.items()}

    def image(self, reference: str) -> str:
        """`reference` as the cluster pulls it."""
        for prefix in sorted(self.images, key=len, reverse=True):
            if reference == prefix or reference.startswith(f"{prefix}/"):
                return self.images[prefix] + reference.removeprefix(prefix)
        return reference


POOLS = (Pool(name=SERVING),)
