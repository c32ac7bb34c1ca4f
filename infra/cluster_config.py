"""Settings of a stack on Kubernetes: cluster, pools, database, data, backups, add-ons and mirror."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from infra.secret_config import ExternalSecret
from serving.config import SecretRef, Strict

Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
"""Name of a Kubernetes object: an RFC 1123 label."""

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]
"""An amount in Kubernetes' notation, for example 500m or 4Gi."""

MOUNTED_SECRETS = "/etc/headrace/secrets"
"""Folder in pods where the stack's secrets are mounted."""

SERVING_POOL = "serving"
"""The pool of workloads that name no other."""


class Kubernetes(Strict):
    """The cluster, and how the stack uses it."""

    kubeconfig: str = Field(
        default="", description="path, or the content (encrypted); empty: $KUBECONFIG, then ~/.kube/config"
    )
    context: str = Field(default="", description="context in the kubeconfig; empty: its current one")
    namespace: Label = "headrace"
    storage_class: str = Field(
        default="", description="class of volumes that name no other; empty: the cluster's default class"
    )
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    source_ranges: tuple[IPv4Network, ...] = Field(
        default=(), description="who may reach a Service of type NodePort or LoadBalancer, for example 10.0.0.0/8"
    )
    key_revision: int = Field(default=1, ge=1, description="a new number generates a new API key")
    external_secret: ExternalSecret | None = Field(
        default=None, description="a secret store to read the secrets from, instead of generating them"
    )
    preflight: bool = Field(default=True, description="check the cluster before any resource is created")
    ready_timeout_s: int | None = Field(
        default=None,
        ge=60,
        le=86_400,
        description="seconds that `up` waits until the application answers; empty: what nodes, images and weights need "
        "at 100 MiB/s",
    )
    render: str = Field(default="", description="folder to write manifests to, instead of installing them")


class Image(Strict):
    """The serving image. A digest names one exact image; a tag can be moved to another."""

    registry: str = Field(default="", pattern=r"^[a-z0-9.:-]*$", description="host (and port) of the registry")
    repository: str = Field(default="headrace/serving", pattern=r"^[a-z0-9._/-]+$")
    tag: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    digest: str = Field(default="", pattern=r"^(sha256:[0-9a-f]{64})?$")
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    pull_secrets: tuple[Label, ...] = Field(default=(), description="Secrets of type dockerconfigjson in the namespace")


_SYSTEM_FOLDERS = (
    *("bin", "dev", "etc", "home", "lib", "lib64", "opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr"),
    "var",
)
OWN_PATHS = tuple(f"/{name}" for name in _SYSTEM_FOLDERS)
"""Folders of a pod that a volume must not hide: those of the system, and Headrace's code and weights in /opt."""


class Toleration(Strict):
    """A toleration of a pool's pods."""

    key: str = Field(min_length=1, max_length=316)
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


class PoolVolume(Strict):
    """A volume of yours that all pods of a pool mount: a claim in the stack's namespace, or the files of an image."""

    claim: Label | None = Field(default=None, description="name of the PersistentVolumeClaim")
    image: str = Field(
        default="",
        pattern=r"^([a-z0-9][a-z0-9./:_-]*@sha256:[0-9a-f]{64})?$",
        description="registry/repository@sha256:digest of an image (OCI artefact) with the files, instead of a claim; "
        "from Kubernetes 1.35",
    )
    path: str = Field(
        pattern=r"^(/[A-Za-z0-9._-]+)+$",
        description="where pods see it, for example /weights for file:///weights/llama",
    )
    read_only: bool = True

    @model_validator(mode="after")
    def _check_path(self) -> PoolVolume:
        if bool(self.claim) == bool(self.image):
            raise ValueError("needs either claim or image")
        if self.image and not self.read_only:
            raise ValueError("has read_only: false, but an image cannot be written to")
        if {".", ".."} & set(self.path.split("/")):
            raise ValueError("has a path with . or .. in it")
        taken = next((own for own in OWN_PATHS if f"{self.path}/".startswith(f"{own}/")), None)
        if taken:
            raise ValueError(f"has a path below {taken}, which Headrace uses; choose another, for example /weights")
        return self


class WeightsVolume(Strict):
    """Where a pool's replicas store the weights that they fetch, instead of each pod's /tmp."""

    kind: Literal["ephemeral", "claim", "node"] = Field(
        description="ephemeral: a volume of each pod's own; claim: one volume that all pods share; node: a folder of "
        "each node that its pods share"
    )
    size: Quantity | None = Field(
        default=None, description="size of the volume; empty: what the models need, twice for pods that share"
    )
    storage_class: str = Field(default="", description="class of the volume; empty: kubernetes.storage_class")
    claim: Label | None = Field(default=None, description="an existing claim of kind claim; empty: the stack makes one")
    access_mode: Literal["ReadWriteMany", "ReadWriteOnce"] = Field(
        default="ReadWriteMany", description="of a claim that the stack makes; ReadWriteOnce: all pods run on one node"
    )
    path: str = Field(
        default="/var/lib/headrace/weights",
        pattern=r"^(/[A-Za-z0-9._-]+){2,}$",
        description="folder of kind node, which must exist on every node",
    )

    @model_validator(mode="after")
    def _check_kind(self) -> WeightsVolume:
        kinds = {
            "claim": ("claim",),
            "access_mode": ("claim",),
            "path": ("node",),
            "storage_class": ("ephemeral", "claim"),
        }
        for name, allowed in kinds.items():
            if name in self.model_fields_set and self.kind not in allowed:
                raise ValueError(f"has {name}, which applies to kind {' or '.join(allowed)}")
        if self.claim and self.model_fields_set & {"size", "storage_class", "access_mode"}:
            raise ValueError("has a claim, which exists: remove size, storage_class and access_mode")
        if {".", ".."} & set(self.path.split("/")):
            raise ValueError("has a path with . or .. in it")
        return self


class Pool(Strict):
    """A group of identical Ray worker pods on nodes of one kind."""

    name: Label
    replicas: int = Field(default=1, ge=0, le=1000)
    min_replicas: int | None = Field(
        default=None, ge=0, le=1000, description="with max_replicas, Ray scales the pool between both"
    )
    max_replicas: int | None = Field(default=None, ge=1, le=1000)
    cpus: float = Field(default=2, gt=0, le=1024, description="CPUs of each pod")
    reserved_cpus: float | None = Field(
        default=None,
        gt=0,
        le=1024,
        description="CPUs that each pod reserves on its node; fewer than cpus overcommits the node",
    )
    memory: Quantity = Field(default="4Gi", description="memory of each pod")
    gpus: int = Field(default=0, ge=0, le=16, description="GPUs of each pod")
    temporary_storage: Quantity | None = Field(
        default=None,
        description="size of each pod's /tmp, where weights are stored that have no volume; empty: 4Gi and what they "
        "need",
    )
    accelerator: str = Field(default="", description="GPU product, as in the node label nvidia.com/gpu.product")
    image: Image | None = Field(default=None, description="replaces headrace:image, for example with vLLM")
    node_pool: Label | None = Field(
        default=None, description="entry of headrace:node_pools whose nodes the pods run on; required with gpus"
    )
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    weights: WeightsVolume | None = Field(
        default=None, description="volume for the weights that replicas fetch; empty: each pod's /tmp"
    )
    volumes: tuple[PoolVolume, ...] = Field(
        default=(), description="volumes of yours, for example with weights that several pods and nodes read"
    )

    @model_validator(mode="after")
    def _check_range(self) -> Pool:
        if len({volume.path for volume in self.volumes}) != len(self.volumes):
            raise ValueError("mounts two volumes at one path")
        low, high = self.min_replicas, self.max_replicas
        if (low is None) != (high is None):
            raise ValueError("needs both min_replicas and max_replicas, or neither")
        if low is not None and high is not None and not low <= self.replicas <= high:
            raise ValueError(f"needs min_replicas <= replicas <= max_replicas, and has {low}, {self.replicas}, {high}")
        if self.reserved_cpus is not None and self.reserved_cpus > self.cpus:
            raise ValueError(f"reserves {self.reserved_cpus:g} cpus but may use only {self.cpus:g}")
        if self.accelerator and not self.gpus:
            raise ValueError("names an accelerator but has no gpus")
        return self

    @property
    def selector(self) -> dict[str, str]:
        """Node labels that the pool's pods require."""
        product = {"nvidia.com/gpu.product": self.accelerator} if self.accelerator else {}
        return {**product, **self.node_selector}


class Database(Strict):
    """PostgreSQL: run by CloudNativePG in the cluster, or an existing server."""

    kind: Literal["cloudnativepg", "url"] = "cloudnativepg"
    url: str = Field(default="", description="postgresql://user@host:port/database, without a password")
    password: SecretRef | None = Field(default=None, description="password for the database at `url` (encrypted)")
    instances: int = Field(default=1, ge=1, le=9, description="CloudNativePG instances: one primary, the rest replicas")
    storage: Quantity = "10Gi"
    storage_class: str = ""

    @model_validator(mode="after")
    def _check_kind(self) -> Database:
        if self.kind == "url" and not self.url:
            raise ValueError("needs url: postgresql://user@host/database")
        if self.kind == "cloudnativepg" and (self.url or self.password):
            raise ValueError("has url or password, which apply to kind: url only")
        return self


class Data(Strict):
    """Where files and collections are stored: a volume that all pods share, or an object store."""

    uri: str = Field(
        default="",
        pattern=r"^((s3|gs)://[^\s/][^\s]*|az://[^\s/]+/[^\s/][^\s]*)?$",
        description="s3:// or gs://bucket/prefix, or az://account/container/prefix; empty: a volume",
    )
    endpoint: str = Field(
        default="", pattern=r"^(https?://[^\s]+)?$", description="URL of an object store that is not the cloud's own"
    )
    credentials: str = Field(
        default="",
        description="Secret whose key `credentials` is an AWS shared credentials file, or the key of a Google service "
        "account; empty: the pods' workload identity",
    )
    storage: Quantity = "20Gi"
    storage_class: str = ""
    access_mode: Literal["ReadWriteMany", "ReadWriteOnce"] = Field(
        default="ReadWriteMany", description="with ReadWriteOnce, all pods that use the volume run on one node"
    )

    @model_validator(mode="after")
    def _check_kind(self) -> Data:
        if not self.uri and (self.endpoint or self.credentials):
            raise ValueError("has endpoint or credentials, which require a uri")
        if self.uri.startswith("az://") and self.credentials:
            raise ValueError("has credentials; a container in Azure is accessed by the pods' workload identity")
        return self


class Backup(Strict):
    """A CronJob that writes archives of all state to an existing volume."""

    claim: str = Field(
        default="", max_length=253, description="name of the volume's claim in the namespace; empty: no backups"
    )
    schedule: str = Field(default="15 3 * * *", min_length=9, description="in cron format")
    time_zone: str = Field(default="Etc/UTC", min_length=1, description="time zone of the schedule")
    key: str = Field(
        default="",
        max_length=253,
        description="Secret with a file from `python -m serving.store key` under `key`, which encrypts the archives; "
        "empty: they are not encrypted",
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Backup:
        if self.model_fields_set - {"claim"} and not self.claim:
            raise ValueError("needs claim: the volume that archives are written to")
        return self


class Existing(Strict):
    """An add-on that the cluster already has."""

    existing: str = Field(min_length=1, description="its name in the cluster, for readers of the configuration")
    namespace: Label | None = Field(default=None, description="namespace it runs in; required for KubeRay")


def _parse_off(value: Any) -> Any:
    """Turns false back into `off`, which YAML 1.1 parsers read as a boolean."""
    return "off" if value is False else value


Choice = Annotated[
    Literal["auto", "install", "off"] | Existing,
    BeforeValidator(_parse_off),
]


class Addons(Strict):
    """Platform add-ons: `auto` installs those that the stack needs, `{existing: NAME}` uses one that is installed."""

    kuberay: Choice = "auto"
    gpu: Choice = "auto"
    gpu_driver: Literal["host", "operator"] = Field(
        default="host", description="who installs the driver: the node's image, or NVIDIA's GPU operator"
    )
    dcgm: Choice = Field(default="auto", description="NVIDIA's DCGM exporter on nodes with GPUs")
    monitoring: Choice = "auto"
    certificates: Choice = "auto"
    gateway: Choice = "auto"
    postgres: Choice = "auto"
    kserve: Choice = "auto"


class Mirror(Strict):
    """Sources of images and charts for a cluster without internet access."""

    images: dict[str, str] = Field(
        default_factory=dict, description="image prefix -> replacement; the longest matching prefix wins"
    )
    charts: str = Field(default="", description="folder with chart archives, or oci://registry/path")

    @field_validator("images")
    @classmethod
    def _check_prefixes(cls, value: dict[str, str]) -> dict[str, str]:
        for prefix, other in value.items():
            if not prefix or not other or "://" in prefix + other:
                raise ValueError("maps prefixes such as `quay.io` to `registry.example.com/quay`, without a scheme")
        return {k.rstrip("/"): v.rstrip("/") for k, v in value.items()}

    def image(self, reference: str) -> str:
        """Returns the reference under which the cluster pulls the image `reference`."""
        for prefix in sorted(self.images, key=len, reverse=True):
            if reference == prefix or reference.startswith(f"{prefix}/"):
                return self.images[prefix] + reference.removeprefix(prefix)
        return reference


POOLS = (Pool(name=SERVING_POOL),)
