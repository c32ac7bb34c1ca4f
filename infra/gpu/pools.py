"""Node pools, said once for every cloud and for machines of your own; `infra.targets` maps them to each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from infra.cluster_config import Label
from infra.gpu import machines
from infra.gpu.machines import Cloud, Machine
from serving.config import Strict

LabelKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
    ),
]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]

POOL_LABEL = "headrace.io/node-pool"
"""On every node of a pool: its name. Ray's pools choose their nodes by it."""

GPU = "nvidia.com/gpu"

Driver = Literal["cloud", "operator", "preinstalled"]
Capacity = Literal["on_demand", "spot", "reserved", "queued"]


class Taint(Strict):
    """Keeps pods that do not tolerate it off a pool's nodes."""

    key: LabelKey
    value: LabelValue = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


GPU_TAINT = Taint(key=GPU, value="present")
"""On every node with GPUs: what takes none stays away. GKE puts it there by itself."""


EFFECTS = {"NoSchedule": "NO_SCHEDULE", "PreferNoSchedule": "PREFER_NO_SCHEDULE", "NoExecute": "NO_EXECUTE"}
"""Effects of taints as the APIs of AWS and Google spell them."""


class Sharing(Strict):
    """How one GPU is given to several pods.

    Time slices share all of a GPU's memory without bounds; MPS and MIG divide it. A MIG slice is a GPU of its own
    (https://docs.nvidia.com/datacenter/tesla/mig-user-guide/).
    """

    kind: Literal["none", "time_slicing", "mps", "mig"] = "none"
    replicas: int = Field(default=1, ge=1, le=48, description="pods of one GPU; of time_slicing and mps")
    profile: str = Field(
        default="", pattern=r"^([1-7]g\.\d+gb)?$", description="size of a slice, for example 1g.10gb; of mig"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Sharing:
        if (self.kind in ("time_slicing", "mps")) != (self.replicas > 1):
            raise ValueError("has replicas > 1 with kind time_slicing or mps, and only with these")
        if (self.kind == "mig") != bool(self.profile):
            raise ValueError("has a profile with kind mig, and only with it")
        return self


class NodePool(Strict):
    """Equal nodes of a cluster that the stack makes. With min_nodes < max_nodes the cloud scales it."""

    name: Label
    accelerator: str = Field(default="", description="key in the catalogue, for example l4 or h100-80gb; empty: none")
    gpus: int = Field(default=0, ge=0, le=16, description="of one node")
    machine_type: str = Field(
        default="",
        max_length=63,
        description="the cloud's name of it; empty: the smallest of the catalogue that has the GPUs",
    )
    min_nodes: int = Field(default=1, ge=0, le=1000)
    max_nodes: int = Field(default=1, ge=1, le=1000)
    capacity: Capacity = Field(
        default="on_demand",
        description="queued waits until there is some: flex-start on GKE, whose nodes go after seven days",
    )
    reservation: str = Field(
        default="", max_length=256, description="of capacity reserved: the cloud's id or name of the reservation"
    )
    sharing: Sharing = Sharing()
    driver: Driver | None = Field(
        default=None,
        description="who owns the GPUs' driver; empty: the cloud's image, or on machines of yours who made them",
    )
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    disk_gib: int = Field(default=200, ge=30, le=16_384, description="of a node's root disk")
    zones: tuple[str, ...] = Field(
        default=(),
        description="of the region; empty: the network's. GKE counts nodes by zone, and needs those of GPUs",
    )

    @model_validator(mode="after")
    def _whole(self) -> NodePool:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"needs min_nodes <= max_nodes, and has {self.min_nodes} and {self.max_nodes}")
        if bool(self.accelerator) != bool(self.gpus):
            raise ValueError("needs both accelerator and gpus, or neither")
        if not self.gpus and (self.driver or self.sharing.kind != "none"):
            raise ValueError("has driver or sharing, which belong to GPUs")
        if (self.capacity == "reserved") != bool(self.reservation):
            raise ValueError("has a reservation with capacity reserved, and only with it")
        if POOL_LABEL in self.labels:
            raise ValueError(f"sets {POOL_LABEL}, which is the pool's own")
        return self

    @property
    def driver_owner(self) -> Driver:
        """Who owns the GPUs' driver: the cloud's image, unless the pool says otherwise."""
        return self.driver or "cloud"

    @property
    def autoscaled(self) -> bool:
        """True when the cloud chooses how many nodes there are: the count is then nobody else's."""
        return self.min_nodes != self.max_nodes

    def machine(self, cloud: Cloud) -> Machine | None:
        """What its nodes are in a cloud; None when the catalogue does not know it."""
        if self.machine_type:
            return machines.machine(cloud, self.machine_type)
        if self.gpus:
            return machines.smallest(cloud, self.accelerator, self.gpus)
        return machines.machine(cloud, machines.DEFAULT[cloud])

    @property
    def node_labels(self) -> dict[str, str]:
        """Labels of its nodes."""
        return {POOL_LABEL: self.name, **self.labels}

    @property
    def node_taints(self) -> tuple[Taint, ...]:
        """Taints of its nodes; on GKE the first is not to be declared."""
        own = () if not self.gpus or any(t.key == GPU for t in self.taints) else (GPU_TAINT,)
        return (*own, *self.taints)
