"""Node pools, in one format for all clouds and on-premises hosts; `infra.targets` maps them to each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from infra.cluster_config import Label
from infra.mistakes import Mistake
from infra.nodes import machines
from infra.nodes.machines import Cloud, MachineType
from serving.config import Strict

LabelKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
    ),
]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]

POOL_LABEL = "headrace.io/node-pool"
"""Label on every node with the name of its pool, by which pools of pods select nodes."""

GPU = "nvidia.com/gpu"

DISK_GIB = 200
"""Smallest default size of a node's root disk."""

FEW_MPS_CLIENTS = ("v100-16gb", "v100-32gb")
"""GPUs with a compute capability below 7.5, for which NVIDIA's MPS daemon accepts 16 replicas instead of 48."""

Driver = Literal["cloud", "operator", "preinstalled"]
Capacity = Literal["on_demand", "spot", "reserved", "queued"]


class Taint(Strict):
    """A taint that keeps pods without a matching toleration off a pool's nodes."""

    key: LabelKey
    value: LabelValue = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


GPU_TAINT = Taint(key=GPU, value="present")
"""Taint of all nodes with GPUs, which keeps other pods away. GKE adds it by itself."""


EFFECTS = {"NoSchedule": "NO_SCHEDULE", "PreferNoSchedule": "PREFER_NO_SCHEDULE", "NoExecute": "NO_EXECUTE"}
"""Effects of taints in the spelling of AWS and Google Cloud."""


LEAST_THROUGHPUT, MOST_THROUGHPUT = 125, 1000
"""MiB/s of gp3: without extra charge, and the most that the provider's schema documents."""

LEAST_IOPS = 3000
"""Operations per second of gp3 without extra charge."""


class Sharing(Strict):
    """How several pods share one GPU.

    Time slicing shares the whole memory without limits; MPS and MIG divide it. A MIG slice behaves like a separate
    GPU (https://docs.nvidia.com/datacenter/tesla/mig-user-guide/). Pods of the stack cannot use GPUs that MPS shares.
    """

    kind: Literal["none", "time_slicing", "mps", "mig"] = "none"
    replicas: int = Field(default=1, ge=1, le=48, description="pods per GPU, for time_slicing and mps")
    profile: str = Field(
        default="", pattern=r"^([1-7]g\.\d+gb)?$", description="MIG profile of the slices, for example 1g.10gb"
    )

    @model_validator(mode="after")
    def _check_kind(self) -> Sharing:
        if (self.kind in ("time_slicing", "mps")) != (self.replicas > 1):
            raise ValueError("needs replicas > 1 with kind time_slicing or mps, and replicas 1 with any other kind")
        if (self.kind == "mig") != bool(self.profile):
            raise ValueError("needs a profile with kind mig, and no profile with any other kind")
        return self


class NodePool(Strict):
    """A group of identical nodes of a cluster that the stack creates. If min_nodes < max_nodes, the cloud scales it."""

    name: Label
    accelerator: str = Field(default="", description="key in the catalogue, for example l4 or h100-80gb; empty: none")
    gpus: int = Field(default=0, ge=0, le=16, description="GPUs of each node")
    machine_type: str = Field(
        default="",
        max_length=63,
        description="the cloud's machine type; empty: the smallest one in the catalogue with these GPUs",
    )
    min_nodes: int = Field(default=1, ge=0, le=1000)
    max_nodes: int = Field(default=1, ge=1, le=1000)
    capacity: Capacity = Field(
        default="on_demand",
        description="queued waits for free capacity: flex-start on GKE, which removes the nodes after seven days",
    )
    reservation: str = Field(
        default="", max_length=256, description="id or name of the reservation, for capacity reserved"
    )
    sharing: Sharing = Sharing()
    driver: Driver | None = Field(
        default=None,
        description="who installs the GPU driver; empty: the cloud's image, or the owner of on-premises hosts",
    )
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    surge: int | None = Field(
        default=None,
        ge=0,
        le=20,
        description="nodes that an upgrade adds before it removes old ones; 0: one node at a time is down meanwhile;"
        " empty: 0 with GPUs, which are rarely available once more, else some. EKS chooses how many: 0 or 1 here",
    )
    disk_gib: int | None = Field(
        default=None,
        ge=30,
        le=16_384,
        description="size of a node's root disk; empty: 200, or what images and weights need",
    )
    disk_throughput: int | None = Field(
        default=None,
        ge=125,
        le=1000,
        description="MiB/s of the root disk on AWS (gp3); empty: what reads the weights in five minutes",
    )
    disk_iops: int | None = Field(
        default=None,
        ge=3000,
        le=16_000,
        description="operations per second of the root disk on AWS (gp3); empty: 3000, or what disk_throughput needs",
    )
    zones: tuple[str, ...] = Field(
        default=(),
        description="zones of the region; empty: those of the network. On GKE, pools with GPUs must name zones",
    )

    @model_validator(mode="after")
    def _check_combination(self) -> NodePool:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"needs min_nodes <= max_nodes, but has {self.min_nodes} and {self.max_nodes}")
        if bool(self.accelerator) != bool(self.gpus):
            raise ValueError("needs both accelerator and gpus, or neither")
        if not self.gpus and (self.driver or self.sharing.kind != "none"):
            raise ValueError("has driver or sharing, which require GPUs")
        if self.sharing.kind == "mps" and self.accelerator in FEW_MPS_CLIENTS and self.sharing.replicas > 16:
            raise ValueError(f"needs at most 16 replicas: MPS has no more clients on a {self.accelerator}")
        if (self.capacity == "reserved") != bool(self.reservation):
            raise ValueError("needs a reservation with capacity reserved, and none with any other capacity")
        if self.disk_throughput and self.disk_iops and self.disk_iops < 4 * self.disk_throughput:
            raise ValueError("needs at least 4 disk_iops for each MiB/s of disk_throughput, as gp3 does")
        if POOL_LABEL in self.labels:
            raise ValueError(f"sets the label {POOL_LABEL}, which the stack sets itself")
        return self

    @property
    def driver_owner(self) -> Driver:
        """Who installs the GPU driver: the cloud's image, unless the pool sets another owner."""
        return self.driver or "cloud"

    @property
    def upgrade_surge(self) -> int:
        """Nodes that an upgrade adds to the pool."""
        return (0 if self.gpus else 1) if self.surge is None else self.surge

    @property
    def root_disk_gib(self) -> int:
        """Size of a node's root disk; the placed configuration has the one that follows from the weights."""
        return self.disk_gib or DISK_GIB

    @property
    def autoscaled(self) -> bool:
        """Whether the cloud chooses the number of nodes."""
        return self.min_nodes != self.max_nodes

    def machine(self, cloud: Cloud) -> MachineType | None:
        """Returns the machine type of the pool's nodes in a cloud; None if it is not in the catalogue."""
        if self.machine_type:
            return machines.machine_type(cloud, self.machine_type)
        if self.gpus:
            return machines.smallest_machine_type(cloud, self.accelerator, self.gpus)
        return machines.machine_type(cloud, machines.default_machine_type(cloud))

    @property
    def node_labels(self) -> dict[str, str]:
        """Labels of the pool's nodes."""
        return {POOL_LABEL: self.name, **self.labels}

    @property
    def node_taints(self) -> tuple[Taint, ...]:
        """Taints of the pool's nodes. On GKE the GPU taint must not be declared."""
        own = () if not self.gpus or any(t.key == GPU for t in self.taints) else (GPU_TAINT,)
        return (*own, *self.taints)


def no_disk_performance(key: str, pool: NodePool) -> Iterator[Mistake]:
    """Reports settings of the disk that AWS alone has; other clouds derive its speed from its size."""
    for name in ("disk_throughput", "disk_iops"):
        if getattr(pool, name) is not None:
            yield Mistake(f"{key}.{name}", "applies to AWS only", "remove it; a larger disk_gib is faster")
