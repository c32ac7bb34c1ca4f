"""Settings for a cluster that the stack creates on your own hosts (`headrace:onprem`), and their checks."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from infra.cluster_config import Label, Quantity
from infra.mistakes import Mistake
from infra.nodes import accelerators
from infra.nodes.pools import GPU, GPU_TAINT, POOL_LABEL, LabelKey, LabelValue, NodePool, Taint
from serving.config import Strict

BINARIES = ("kubeadm", "kubelet", "kubectl")
"""Kubernetes' programs on every host."""

KEY_TYPES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Host(Strict):
    """A host and how to reach it over SSH."""

    name: Label = Field(description="name of the node; the host's own name may differ")
    address: IPv4Address = Field(description="address for SSH and for the other nodes")
    port: int = Field(default=22, ge=1, le=65535, description="SSH port")
    user: str = Field(default="root", pattern=r"^[a-z_][-a-z0-9_.]*$", description="root, or a user with `sudo -n`")
    key_file: str = Field(default="", description="private key; empty: the SSH agent's, then those in ~/.ssh")
    host_key: str = Field(default="", description="the host's public key; empty: it is in known_hosts")
    role: Literal["control_plane", "worker"] = "worker"
    gpus: int = Field(default=0, ge=0, le=16)
    accelerator: str = Field(default="", description="key in the catalogue, for example l4 or h100-80gb")
    pool: Label | None = Field(default=None, description=f"value of the node's label {POOL_LABEL}")
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    taints: tuple[Taint, ...] = ()

    @model_validator(mode="after")
    def _check_combination(self) -> Host:
        if bool(self.accelerator) != bool(self.gpus):
            raise ValueError("needs both accelerator and gpus, or neither")
        if POOL_LABEL in self.labels:
            raise ValueError(f"sets the label {POOL_LABEL}; set pool instead")
        return self

    @property
    def node_labels(self) -> dict[str, str]:
        """Labels of the host's node."""
        return {**({POOL_LABEL: self.pool} if self.pool else {}), **self.labels}

    @property
    def node_taints(self) -> tuple[Taint, ...]:
        """Taints of the host's node; with GPUs, they keep other pods away."""
        own = (GPU_TAINT,) if self.gpus and not any(t.key == GPU for t in self.taints) else ()
        return (*own, *self.taints)


class Storage(Strict):
    """Local volumes: folders on the nodes. A pod with such a volume always runs on that node."""

    kind: Literal["none", "local"] = "none"
    path: str = Field(default="/var/lib/headrace-volumes", pattern=r"^/[-a-zA-Z0-9_./]+[-a-zA-Z0-9_]$")
    volumes: int = Field(default=8, ge=1, le=64, description="volumes on each node that runs pods")
    size: Quantity = Field(default="50Gi", description="nominal size of a volume; it is not enforced")
    default: bool = Field(default=True, description="whether claims without a class use these volumes")


class OnPrem(Strict):
    """The hosts, and the cluster on them."""

    hosts: tuple[Host, ...] = Field(default=(), max_length=512)
    known_hosts: str = Field(default="~/.ssh/known_hosts", description="file with the keys of hosts without host_key")
    kubernetes_version: str = Field(default="1.37.2", pattern=r"^1\.\d{2}\.\d{1,2}$")
    pod_range: IPv4Network = IPv4Network("10.244.0.0/16")
    service_range: IPv4Network = IPv4Network("10.96.0.0/16")
    virtual_ip: IPv4Address | None = Field(
        default=None, description="shared address of the API servers; required with three control planes"
    )
    interface: str = Field(
        default="",
        pattern=r"^[-a-zA-Z0-9_.]{0,15}$",
        description="network interface of the virtual IP; empty: that of the hosts' addresses",
    )
    bundle: str = Field(
        default="",
        description="folder created by `.venv/bin/python -m tools.bundle`; empty: hosts download what they need",
    )
    downloads: str = Field(
        default="https://dl.k8s.io/release",
        pattern=r"^https?://[^\s'\"]+[^/\s'\"]$",
        description="URL from which hosts without a bundle download Kubernetes' binaries",
    )
    checksums: dict[str, Sha256] = Field(
        default_factory=dict, description="SHA-256 of kubeadm, kubelet and kubectl; required without a bundle"
    )
    driver: Literal["preinstalled", "operator"] = Field(
        default="preinstalled", description="who installs the GPU driver"
    )
    api_server_args: dict[str, str] = Field(default_factory=dict, description="additional API server arguments")
    storage: Storage = Storage()

    @property
    def control_planes(self) -> tuple[Host, ...]:
        return tuple(h for h in self.hosts if h.role == "control_plane")

    @property
    def workers(self) -> tuple[Host, ...]:
        return tuple(h for h in self.hosts if h.role == "worker")

    @property
    def endpoint(self) -> IPv4Address:
        """Address of the API server for nodes and users."""
        return self.virtual_ip or self.control_planes[0].address

    def pods_run_on(self, host: Host) -> bool:
        """Returns whether ordinary pods run on a host: on control planes only if there are no workers."""
        return host.role == "worker" or not self.workers


def mistakes(settings: OnPrem) -> list[Mistake]:
    """Reports inconsistent hosts and cluster settings, without connecting to any host."""
    return [
        *_control_planes(settings),
        *_duplicates(settings),
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
        found.append(Mistake("onprem.hosts", problem, "use one, or three to survive the loss of one"))
    if count == 3 and settings.virtual_ip is None:
        fix = "set it to a free address in the hosts' network, which moves between the control planes"
        found.append(Mistake("onprem.virtual_ip", "is missing, but there are three control planes", fix))
    if count == 1 and settings.virtual_ip is not None:
        found.append(Mistake("onprem.virtual_ip", "requires three control planes", "remove it, or add two hosts"))
    if settings.interface and settings.virtual_ip is None:
        found.append(Mistake("onprem.interface", "requires virtual_ip", "remove it"))
    return found


def _duplicates(settings: OnPrem) -> list[Mistake]:
    found = []
    for field in ("name", "address"):
        values = [str(getattr(host, field)) for host in settings.hosts]
        found += [
            Mistake(
                f"onprem.hosts[{i}].{field}",
                f"'{value}' is already onprem.hosts[{values.index(value)}].{field}",
                "use a different one for each host",
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
            found.append(Mistake(f"onprem.hosts[{i}].address", f"{at} is not a host address", "use the host's own"))
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
            found.append(Mistake(key, f"{network} contains the address of {', '.join(inside)}", "choose another range"))
    if settings.pod_range.overlaps(settings.service_range):
        problem = f"{settings.service_range} overlaps pod_range {settings.pod_range}"
        found.append(Mistake("onprem.service_range", problem, "choose another range"))
    if settings.pod_range.prefixlen > 23 or 2 ** (24 - settings.pod_range.prefixlen) < len(settings.hosts):
        problem = f"{settings.pod_range} is too small to give each of {len(settings.hosts)} hosts a /24"
        found.append(Mistake("onprem.pod_range", problem, "choose a larger range, such as a /16"))
    if not 12 <= settings.service_range.prefixlen <= 24:
        problem = f"{settings.service_range} is not between /12 and /24"
        found.append(Mistake("onprem.service_range", problem, "use a /16"))
    return found


def _host_keys(settings: OnPrem) -> list[Mistake]:
    fix = "paste a line of the host's /etc/ssh/ssh_host_*_key.pub, `ssh-ed25519 AAAA...`"
    return [
        Mistake(f"onprem.hosts[{i}].host_key", "is not an SSH public key", fix)
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
    """Reports hosts with GPUs but without a pool, and pools whose hosts differ in GPUs or taints."""
    found = []
    first: dict[str, Host] = {}
    for i, host in enumerate(settings.hosts):
        key = f"onprem.hosts[{i}].pool"
        if not host.pool:
            if host.gpus:
                fix = "set a name that headrace:pools can refer to"
                found.append(Mistake(key, "is missing, but the host has GPUs", fix))
            continue
        like = first.setdefault(host.pool, host)
        if (like.accelerator, like.gpus, like.taints) != (host.accelerator, host.gpus, host.taints):
            problem = f"host '{like.name}' in the same pool '{host.pool}' has other GPUs or taints"
            found.append(Mistake(key, problem, "use another pool"))
    return found


def _sources(settings: OnPrem) -> list[Mistake]:
    if settings.bundle:
        if settings.checksums:
            return [Mistake("onprem.checksums", "cannot be combined with bundle, which has checksums", "remove it")]
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
    fix = f"add the content of {version}/{lacking[0]}.sha256, or use a bundle"
    return [*unknown, Mistake("onprem.checksums", f"lacks {', '.join(lacking)}, but there is no bundle", fix)]


def node_pools(settings: OnPrem) -> tuple[NodePool, ...]:
    """Returns the hosts grouped by `pool` as node pools. Hosts of one pool have the same GPUs and taints."""
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
