"""Writes kubeadm's configuration, and runs kubeadm on a host.

https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from infra.onprem.ssh import RemoteHost
from infra.resources.resource import Values

API = "kubeadm.k8s.io/v1beta4"
PORT = 6443
SOCKET = "unix:///run/containerd/containerd.sock"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
MEMBER_FILE = "/var/lib/headrace/member"
"""File on nodes of the cluster with the digest of the certificate authority."""
IGNORED_CHECKS = ("SystemVerification",)
"""Checks of kubeadm to skip on hosts with control groups of version 1, which the kubelet supports and kubeadm not."""
MIN_FREE_DISK = "2Gi"
"""Free disk space below which a kubelet rejects pods and removes images. It is not a percentage: 5 % of 250 GiB is more
than the preflight requires, and a host that passed it would run no pods."""
RUN_S = 900
LOCK_PATIENCE_S = 600

Document = dict[str, Any]


@dataclass(frozen=True)
class ClusterConfiguration:
    """Configuration that all nodes of a cluster share."""

    name: str
    version: str
    endpoint: str
    """Address of the API server."""
    pod_range: str
    service_range: str
    names: Sequence[str]
    """Addresses in the API server's certificate."""
    api_server_args: Mapping[str, str]
    dns_tag: str
    """Tag of CoreDNS' image; empty: kubeadm's default."""
    offline: bool
    """Images cannot be pulled again, so the kubelet must not remove unused ones."""

    @classmethod
    def from_values(cls, values: Values) -> ClusterConfiguration:
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class NodeRegistration:
    """A node's name, address and taints when it registers."""

    name: str
    address: str
    taints: Sequence[Mapping[str, str]]
    legacy_cgroups: bool

    @property
    def registration(self) -> Document:
        return {
            "name": self.name,
            "criSocket": SOCKET,
            "imagePullPolicy": "IfNotPresent",
            "taints": [dict(taint) for taint in self.taints],
            "ignorePreflightErrors": list(IGNORED_CHECKS) if self.legacy_cgroups else [],
            "kubeletExtraArgs": [{"name": "node-ip", "value": self.address}],
        }


def cluster_document(configuration: ClusterConfiguration) -> Document:
    """Returns kubeadm's ClusterConfiguration."""
    # Use addresses: the hosts' names may not resolve on other hosts.
    args = {"kubelet-preferred-address-types": "InternalIP", **configuration.api_server_args}
    return {
        "apiVersion": API,
        "kind": "ClusterConfiguration",
        "kubernetesVersion": f"v{configuration.version}",
        "clusterName": configuration.name,
        "controlPlaneEndpoint": f"{configuration.endpoint}:{PORT}",
        "networking": {"podSubnet": configuration.pod_range, "serviceSubnet": configuration.service_range},
        "apiServer": {
            "extraArgs": [{"name": name, "value": args[name]} for name in sorted(args)],
            "certSANs": list(configuration.names),
        },
        **({"dns": {"imageTag": configuration.dns_tag}} if configuration.dns_tag else {}),
    }


def _kubelet(configuration: ClusterConfiguration) -> Document:
    collected = {"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99} if configuration.offline else {}
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "systemd",
        # The setting applies to the whole cluster, which may have hosts with control groups of version 1.
        "failCgroupV1": False,
        "evictionHard": {
            "memory.available": "200Mi",
            "nodefs.available": MIN_FREE_DISK,
            "imagefs.available": MIN_FREE_DISK,
        },
        **collected,
    }


def _kube_proxy() -> Document:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        # Keep the hosts' own limits of connection tracking.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def init_documents(configuration: ClusterConfiguration, node: NodeRegistration) -> str:
    """Returns the configuration for `kubeadm init`."""
    return _documents(
        {
            "apiVersion": API,
            "kind": "InitConfiguration",
            "localAPIEndpoint": {"advertiseAddress": node.address, "bindPort": PORT},
            "nodeRegistration": node.registration,
            # This token is not used: every node joins with its own one.
            "bootstrapTokens": [{"ttl": "1m0s"}],
        },
        cluster_document(configuration),
        _kubelet(configuration),
        _kube_proxy(),
    )


def join_documents(node: NodeRegistration, endpoint: str, token: str, authority: str, certificate_key: str = "") -> str:
    """Returns the configuration for `kubeadm join`, a secret. With `certificate_key`, the node is a control plane."""
    plane = {
        "controlPlane": {
            "localAPIEndpoint": {"advertiseAddress": node.address, "bindPort": PORT},
            "certificateKey": certificate_key,
        }
    }
    return _documents(
        {
            "apiVersion": API,
            "kind": "JoinConfiguration",
            "discovery": {
                "bootstrapToken": {
                    "apiServerEndpoint": f"{endpoint}:{PORT}",
                    "token": token,
                    "caCertHashes": [authority],
                }
            },
            "nodeRegistration": node.registration,
            **(plane if certificate_key else {}),
        }
    )


def _documents(*documents: Document) -> str:
    return yaml.safe_dump_all(documents, sort_keys=False)


def preflight_flags(legacy_cgroups: bool) -> tuple[str, ...]:
    """Returns the arguments that skip `IGNORED_CHECKS`, for subcommands without a configuration."""
    return (f"--ignore-preflight-errors={','.join(IGNORED_CHECKS)}",) if legacy_cgroups else ()


def is_member(host: RemoteHost) -> bool:
    """Returns whether the host is a node of a Headrace cluster."""
    return host.succeeds(f"test -s {MEMBER_FILE}")


def run(host: RemoteHost, *arguments: str, configuration: str = "", member: bool = False) -> None:
    """Runs kubeadm. It finishes even if the connection is lost; the next run waits for it.

    With `member`, the host is recorded as a node after success. Raises `CommandFailed` with the end of the log.
    """
    name = f"kubeadm {' '.join(a for a in arguments if not a.startswith('--'))}"
    host.run(
        _RUN,
        "yes" if configuration else "",
        "yes" if member else "",
        *arguments,
        input=configuration,
        timeout_s=RUN_S + LOCK_PATIENCE_S,
        again=False,
        what=name,
    )


# Its output goes to a file: with a pipe, kubeadm would be killed when the connection is lost.
_RUN = f"""
configuration=$1 member=$2
shift 2
umask 077
mkdir -p /run/headrace /var/log/headrace
exec 9>/run/headrace/lock
flock --wait {LOCK_PATIENCE_S} 9
trap 'rm -f /run/headrace/kubeadm.yaml' EXIT
cat >/run/headrace/kubeadm.yaml
[ -z "$configuration" ] || set -- "$@" --config=/run/headrace/kubeadm.yaml
if ! timeout {RUN_S} kubeadm "$@" >/var/log/headrace/kubeadm.log 2>&1 9>&-; then
  grep -vE '^[[:space:]]*$' /var/log/headrace/kubeadm.log | tail -n 8 >&2
  exit 1
fi
[ -z "$member" ] || sha256sum /etc/kubernetes/pki/ca.crt | cut -d' ' -f1 >{MEMBER_FILE}
"""
