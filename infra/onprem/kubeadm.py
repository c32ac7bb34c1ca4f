"""kubeadm's configuration files, and its runs on a host.

https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from infra.onprem.ssh import RemoteHost
from infra.providers.resource import Values

API = "kubeadm.k8s.io/v1beta4"
PORT = 6443
SOCKET = "unix:///run/containerd/containerd.sock"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
MEMBER_FILE = "/var/lib/headrace/member"
"""On a host that is a node of ours: the digest of its cluster's certificate authority."""
IGNORED_CHECKS = ("SystemVerification",)
"""Of kubeadm's checks, on hosts with control groups of version 1: it knows version 2 alone, the kubelet takes both."""
MIN_FREE_DISK = "2Gi"
"""Free space below which a kubelet takes no pods and removes images. Not a share of the disk: 5 % of 250 GiB is more
than the preflight asks for, so that a machine which it passed was a node that nothing ran on."""
RUN_S = 900
LOCK_PATIENCE_S = 600

Document = dict[str, Any]


@dataclass(frozen=True)
class ClusterConfiguration:
    """What all nodes of a cluster have in common."""

    name: str
    version: str
    endpoint: str
    """Address by which the API server is reached."""
    pod_range: str
    service_range: str
    names: Sequence[str]
    """Addresses that the API server's certificate holds."""
    api_server_args: Mapping[str, str]
    dns_tag: str
    """Of CoreDNS; empty: kubeadm's own choice."""
    offline: bool
    """Images cannot be pulled again: the kubelet collects none."""

    @classmethod
    def from_values(cls, values: Values) -> ClusterConfiguration:
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class NodeRegistration:
    """What a node is called and has when it registers."""

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
    """ClusterConfiguration."""
    # Names of hosts need not be known to the others.
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
        # Hosts with control groups of version 1 are told from others by nobody: the setting is the cluster's.
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
        # The limits of connection tracking stay the hosts' own.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def init_documents(configuration: ClusterConfiguration, node: NodeRegistration) -> str:
    """What `kubeadm init` reads."""
    return _documents(
        {
            "apiVersion": API,
            "kind": "InitConfiguration",
            "localAPIEndpoint": {"advertiseAddress": node.address, "bindPort": PORT},
            "nodeRegistration": node.registration,
            # Every node joins with a token of its own: this one nobody gets to know.
            "bootstrapTokens": [{"ttl": "1m0s"}],
        },
        cluster_document(configuration),
        _kubelet(configuration),
        _kube_proxy(),
    )


def join_documents(node: NodeRegistration, endpoint: str, token: str, authority: str, certificate_key: str = "") -> str:
    """What `kubeadm join` reads: secret. `certificate_key`: the node becomes a control plane."""
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
    """The same as an argument, for verbs that take no configuration."""
    return (f"--ignore-preflight-errors={','.join(IGNORED_CHECKS)}",) if legacy_cgroups else ()


def is_member(host: RemoteHost) -> bool:
    """True when the host is a node of ours."""
    return host.succeeds(f"test -s {MEMBER_FILE}")


def run(host: RemoteHost, *arguments: str, configuration: str = "", member: bool = False) -> None:
    """Runs kubeadm to its end, also when the connection is cut; one that an earlier run left is waited for.

    `member`: the host is noted as a node when it succeeds. Raises `Failed` with the end of its log.
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


# Its output goes to a file: with a connection that is cut, a pipe's end would end kubeadm in the middle.
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
