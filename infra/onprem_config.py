"""Settings of a cluster that the stack makes out of machines that you have (`headrace:onprem`), and their mistakes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from infra.cluster_config import Label, Quantity
from infra.gpu import accelerators
from infra.gpu.pools import GPU, GPU_TAINT, POOL_LABEL, LabelKey, LabelValue, NodePool, Taint
from infra.mistakes import Mistake
from serving.config import Strict

BINARIES = ("kubeadm", "kubelet", "kubectl")
"""Of Kubernetes, on every host."""

KEY_TYPES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Host(Strict):
    """One machine, as SSH reaches it."""

    name: Label = Field(description="of the node; the machine's own host name may be another")
    address: IPv4Address = Field(description="by which SSH and the other nodes reach it")
    port: int = Field(default=22, ge=1, le=65535, description="of SSH")
    user: str = Field(default="root", pattern=r"^[a-z_][-a-z0-9_.]*$", description="root, or one with `sudo -n`")
    key_file: str = Field(default="", description="private key; empty: the SSH agent's, then those in ~/.ssh")
    host_key: str = Field(default="", description="the machine's public key; empty: it is in known_hosts")
    role: Literal["control_plane", "worker"] = "worker"
    gpus: int = Field(default=0, ge=0, le=16)
    accelerator: str = Field(default="", description="key in the catalogue, for example l4 or h100-80gb")
    pool: Label | None = Field(default=None, description=f"value of the node's label {POOL_LABEL}")
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    taints: tuple[Taint, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Host:
        if bool(self.accelerator) != bool(self.gpus):
            raise ValueError("needs both accelerator and gpus, or neither")
        if POOL_LABEL in self.labels:
            raise ValueError(f"sets {POOL_LABEL}; say it by pool")
        return self

    @property
    def node_labels(self) -> dict[str, str]:
        """Labels of its node."""
        return {**({POOL_LABEL: self.pool} if self.pool else {}), **self.labels}

    @property
    def node_taints(self) -> tuple[Taint, ...]:
        """Taints of its node: what takes no GPU stays away from one with GPUs."""
        own = (GPU_TAINT,) if self.gpus and not any(t.key == GPU for t in self.taints) else ()
        return (*own, *self.taints)


class Storage(Strict):
    """Volumes of folders on the nodes. A pod with such a volume stays on its node."""

    kind: Literal["none", "local"] = "none"
    path: str = Field(default="/var/lib/headrace-volumes", pattern=r"^/[-a-zA-Z0-9_./]+[-a-zA-Z0-9_]$")
    volumes: int = Field(default=8, ge=1, le=64, description="of each node that takes pods")
    size: Quantity = Field(default="50Gi", description="what a volume promises; nothing holds a pod to it")
    default: bool = Field(default=True, description="the class of claims that name none")


class OnPrem(Strict):
    """The hosts, and the cluster that they become."""

    hosts: tuple[Host, ...] = Field(default=(), max_length=512)
    known_hosts: str = Field(default="~/.ssh/known_hosts", description="keys of hosts that have no host_key")
    kubernetes_version: str = Field(default="1.37.2", pattern=r"^1\.\d{2}\.\d{1,2}$")
    pod_range: IPv4Network = IPv4Network("10.244.0.0/16")
    service_range: IPv4Network = IPv4Network("10.96.0.0/16")
    virtual_ip: IPv4Address | None = Field(default=None, description="of the API servers; with three control planes")
    interface: str = Field(
        default="",
        pattern=r"^[-a-zA-Z0-9_.]{0,15}$",
        description="of the virtual IP; empty: that of the hosts' address",
    )
    bundle: str = Field(
        default="", description="folder that `python -m tools.bundle` made; empty: hosts fetch what they need"
    )
    downloads: str = Field(
        default="https://dl.k8s.io/release",
        pattern=r"^https?://[^\s'\"]+[^/\s'\"]$",
        description="where hosts without a bundle fetch Kubernetes' binaries",
    )
    checksums: dict[str, Sha256] = Field(
        default_factory=dict, description="SHA-256 of kubeadm, kubelet and kubectl; needed without a bundle"
    )
    driver: Literal["preinstalled", "operator"] = Field(default="preinstalled", description="who owns the GPUs' driver")
    api_server_args: dict[str, str] = Field(default_factory=dict, description="further arguments of the API server")
    storage: Storage = Storage()

    @property
    def control_planes(self) -> tuple[Host, ...]:
        return tuple(h for h in self.hosts if h.role == "control_plane")

    @property
    def workers(self) -> tuple[Host, ...]:
        return tuple(h for h in self.hosts if h.role == "worker")

    @property
    def endpoint(self) -> IPv4Address:
        """By which nodes and people reach the API server."""
        return self.virtual_ip or self.control_planes[0].address

    def pods_run_on(self, host: Host) -> bool:
        """True when pods that tolerate nothing may run there: control planes are for themselves beside workers."""
        return host.role == "worker" or not self.workers


def mistakes(settings: OnPrem) -> list[Mistake]:
    """What hosts and cluster cannot be together; nothing is asked of any host."""
    return [
        *_control_planes(settings),
        *_unique(settings),
        *_addresses(settings),
        *_ranges(settings),
        *_host_keys(settings),
        *_gpus(settings),
        *_pools(settings),
        *_sources(settings),
    ]


def _control_planes(settings: OnPrem) -> list[Mistake]:
    if not settings.hosts:
        return [Mistake("onprem.hosts", "is empty", "add a host with role control_plane")]
    count = len(settings.control_planes)
    found = []
    if count not in (1, 3):
        problem = f"{count or 'no'} host{'s' * (count > 1)} with role control_plane"
        found.append(Mistake("onprem.hosts", problem, "give one that role, or three, of which one may fail"))
    if count == 3 and settings.virtual_ip is None:
        fix = "add a free address in the hosts' network, which moves to a control plane that works"
        found.append(Mistake("onprem.virtual_ip", "is missing, and there are three control planes", fix))
    if count == 1 and settings.virtual_ip is not None:
        found.append(Mistake("onprem.virtual_ip", "belongs to three control planes", "remove it, or add two hosts"))
    if settings.interface and settings.virtual_ip is None:
        found.append(Mistake("onprem.interface", "belongs to virtual_ip", "remove it"))
    return found


def _unique(settings: OnPrem) -> list[Mistake]:
    found = []
    for field in ("name", "address"):
        values = [str(getattr(host, field)) for host in settings.hosts]
        found += [
            Mistake(
                f"onprem.hosts[{i}].{field}",
                f"'{value}' is already onprem.hosts[{values.index(value)}].{field}",
                "give each host its own",
            )
            for i, value in enumerate(values)
            if value in values[:i]
        ]
    return found


def _addresses(settings: OnPrem) -> list[Mistake]:
    found = []
    for i, host in enumerate(settings.hosts):
        at = host.address
        if at.is_loopback or at.is_unspecified or at.is_multicast or at.is_link_local:
            found.append(Mistake(f"onprem.hosts[{i}].address", f"{at} is no address of a host", "name its own"))
        if at == settings.virtual_ip:
            problem = f"{at} is the address of '{host.name}'"
            found.append(Mistake("onprem.virtual_ip", problem, "choose an address that no host has"))
    return found


def _ranges(settings: OnPrem) -> list[Mistake]:
    ranges = {"pod_range": settings.pod_range, "service_range": settings.service_range}
    found = []
    for name, network in ranges.items():
        key = f"onprem.{name}"
        if not network.is_private:
            found.append(Mistake(key, f"{network} is public", "use one of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16"))
        inside = [h.name for h in settings.hosts if h.address in network]
        if settings.virtual_ip is not None and settings.virtual_ip in network:
            inside.append("virtual_ip")
        if inside:
            found.append(Mistake(key, f"{network} holds the address of {', '.join(inside)}", "choose another range"))
    if settings.pod_range.overlaps(settings.service_range):
        problem = f"{settings.service_range} overlaps pod_range {settings.pod_range}"
        found.append(Mistake("onprem.service_range", problem, "choose another range"))
    if settings.pod_range.prefixlen > 23 or 2 ** (24 - settings.pod_range.prefixlen) < len(settings.hosts):
        problem = f"{settings.pod_range} has no /24 for each of {len(settings.hosts)} hosts"
        found.append(Mistake("onprem.pod_range", problem, "choose a larger one, such as a /16"))
    if not 12 <= settings.service_range.prefixlen <= 24:
        problem = f"{settings.service_range} is no range between /12 and /24"
        found.append(Mistake("onprem.service_range", problem, "use a /16"))
    return found


def _host_keys(settings: OnPrem) -> list[Mistake]:
    fix = "paste a line of the host's /etc/ssh/ssh_host_*_key.pub, `ssh-ed25519 AAAA...`"
    return [
        Mistake(f"onprem.hosts[{i}].host_key", "is no public key of SSH", fix)
        for i, host in enumerate(settings.hosts)
        if host.host_key and not _is_public_key(host.host_key)
    ]


def _is_public_key(line: str) -> bool:
    kind, _, rest = line.strip().partition(" ")
    try:
        data = base64.b64decode(rest.split(" ")[0], validate=True)
    except binascii.Error:
        return False
    return kind in KEY_TYPES and "\n" not in line.strip() and data[4 : 4 + len(kind)] == kind.encode()


def _gpus(settings: OnPrem) -> list[Mistake]:
    known: Sequence[str] = [a.key for a in accelerators.ACCELERATORS]
    return [
        Mistake.unknown(f"onprem.hosts[{i}].accelerator", host.accelerator, "accelerator", known)
        for i, host in enumerate(settings.hosts)
        if host.accelerator and host.accelerator not in known
    ]


def _pools(settings: OnPrem) -> list[Mistake]:
    """Pods choose their hosts by pool: those of one are alike."""
    found = []
    first: dict[str, Host] = {}
    for i, host in enumerate(settings.hosts):
        key = f"onprem.hosts[{i}].pool"
        if not host.pool:
            if host.gpus:
                fix = "name one, for headrace:pools to refer to"
                found.append(Mistake(key, "is missing, and the host has GPUs", fix))
            continue
        like = first.setdefault(host.pool, host)
        if (like.accelerator, like.gpus, like.taints) != (host.accelerator, host.gpus, host.taints):
            problem = f"'{host.pool}' has other GPUs or taints in host '{like.name}'"
            found.append(Mistake(key, problem, "name another pool"))
    return found


def _sources(settings: OnPrem) -> list[Mistake]:
    if settings.bundle:
        if settings.checksums:
            return [Mistake("onprem.checksums", "stands beside bundle, which has its own", "remove it")]
        return []
    unknown = [
        Mistake.unknown(f"onprem.checksums.{name}", name, "binary", BINARIES)
        for name in settings.checksums
        if name not in BINARIES
    ]
    lacking = [name for name in BINARIES if name not in settings.checksums]
    if not lacking:
        return unknown
    version = f"{settings.downloads}/v{settings.kubernetes_version}/bin/linux/amd64"
    fix = f"add what {version}/{lacking[0]}.sha256 says, or name a bundle"
    return [*unknown, Mistake("onprem.checksums", f"lacks {', '.join(lacking)}, and there is no bundle", fix)]


def node_pools(settings: OnPrem) -> tuple[NodePool, ...]:
    """Hosts by their `pool`, as pools of nodes. Those of one pool have the same GPUs and taints."""
    names = dict.fromkeys(host.pool for host in settings.hosts if host.pool)
    found = []
    for name in names:
        hosts = [host for host in settings.hosts if host.pool == name]
        first = hosts[0]
        found.append(
            NodePool(
                name=name,
                accelerator=first.accelerator,
                gpus=first.gpus,
                min_nodes=len(hosts),
                max_nodes=len(hosts),
                driver=settings.driver if first.gpus else None,
                labels=first.labels,
                taints=first.taints,
            )
        )
    return tuple(found)
