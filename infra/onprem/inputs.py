"""Converts settings to the inputs of resources, which are plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from infra.onprem import network, storage, template
from infra.onprem.bundle import OfflineBundle
from infra.onprem.kubeadm import CONTROL_PLANE
from infra.onprem.preflight import ssh_address
from infra.onprem_config import Host, OnPrem

COREDNS = "registry.k8s.io/coredns/coredns"

Values = dict[str, Any]


@dataclass(frozen=True)
class ResourceInputs:
    """Inputs of all resources of one cluster. `image` is the reference of kube-router's image."""

    settings: OnPrem
    stack: str
    image: str = network.IMAGE
    bundle: OfflineBundle | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bundle", OfflineBundle.open(self.settings.bundle) if self.settings.bundle else None)

    def machine(self, host: Host) -> Values:
        """Returns the inputs of `infra.providers.machine`."""
        settings = self.settings
        peers = [str(h.address) for h in settings.control_planes] if self._shares_virtual_ip(host) else []
        return {
            **self._address(host),
            "stack": self.stack,
            "kubernetes_version": settings.kubernetes_version,
            "bundle": settings.bundle,
            "source": self.bundle.digest if self.bundle else "",
            "downloads": settings.downloads,
            "checksums": dict(settings.checksums),
            "gpus": host.gpus,
            "driver": settings.driver,
            "virtual_ip": str(settings.virtual_ip) if peers else "",
            "interface": settings.interface,
            "peers": peers,
            "revision": template.revision(),
        }

    def node(self, host: Host) -> Values:
        """Returns the inputs of `infra.providers.kubernetes_node`."""
        settings = self.settings
        taints = [taint.model_dump() for taint in host.node_taints]
        if not settings.pods_run_on(host):
            taints.insert(0, {"key": CONTROL_PLANE, "value": "", "effect": "NoSchedule"})
        return {
            **self._address(host),
            "stack": self.stack,
            "role": host.role,
            "labels": host.node_labels,
            "taints": taints,
            "volumes": self._volumes(host),
            "control_planes": [self._address(h) for h in settings.control_planes],
            "endpoint": str(settings.endpoint),
            "pod_range": str(settings.pod_range),
            "configuration": self._configuration() if host.role == "control_plane" else {},
        }

    def cluster(self) -> Values:
        """Returns the inputs of `infra.providers.kubernetes_cluster`."""
        settings = self.settings
        ranges = (str(settings.pod_range), str(settings.service_range))
        manifests = [network.network_manifest(self.image, *ranges, str(settings.endpoint))]
        if settings.storage.kind == "local":
            manifests.append(storage.storage_class(default=settings.storage.default))
        return {
            "hosts": [self._address(host) for host in settings.hosts],
            "control_planes": [host.name for host in settings.control_planes],
            "configuration": self._configuration(),
            "manifests": manifests,
        }

    def _address(self, host: Host) -> Values:
        return asdict(ssh_address(host, self.settings))

    def _shares_virtual_ip(self, host: Host) -> bool:
        return host.role == "control_plane" and self.settings.virtual_ip is not None

    def _volumes(self, host: Host) -> Values:
        local = self.settings.storage
        if local.kind == "none" or not self.settings.pods_run_on(host):
            return {}
        return {"path": local.path, "count": local.volumes, "size": local.size}

    def _configuration(self) -> Values:
        settings = self.settings
        names = [settings.endpoint, *(host.address for host in settings.control_planes)]
        return {
            "name": self.stack,
            "version": settings.kubernetes_version,
            "endpoint": str(settings.endpoint),
            "pod_range": str(settings.pod_range),
            "service_range": str(settings.service_range),
            "names": list(dict.fromkeys(map(str, names))),
            "api_server_args": dict(settings.api_server_args),
            "dns_tag": self.bundle.tag(COREDNS) if self.bundle else "",
            "offline": self.bundle is not None,
        }
