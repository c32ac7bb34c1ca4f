"""Members of etcd, asked through the JSON gateway of a control plane: no host needs etcdctl.

https://etcd.io/docs/latest/dev-guide/api_grpc_gateway/
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from infra.onprem.ssh import RemoteHost


@dataclass(frozen=True)
class EtcdMember:
    id: str
    name: str
    """Empty while it has not started."""
    peer: str
    """URL by which the others reach it."""


def members(host: RemoteHost) -> list[EtcdMember]:
    """Every member, as the host's own etcd knows them."""
    said = json.loads(_call_api(host, "list", "{}"))
    return [EtcdMember(m["ID"], m.get("name", ""), (m.get("peerURLs") or [""])[0]) for m in said.get("members", ())]


def remove(host: RemoteHost, name: str, address: str) -> None:
    """Removes the member that a lost control plane leaves; one that is not there is no error.

    One that never started has no name yet, and the address of its host.
    """
    for member in members(host):
        if member.name == name or urlsplit(member.peer).hostname == address:
            _call_api(host, "remove", json.dumps({"ID": member.id}))


_SCRIPT = """
pki=/etc/kubernetes/pki/etcd
exec curl --fail --silent --show-error --max-time 20 --cacert $pki/ca.crt --cert $pki/healthcheck-client.crt \
  --key $pki/healthcheck-client.key --data @- "https://127.0.0.1:2379/v3/cluster/member/$1"
"""


def _call_api(host: RemoteHost, verb: str, body: str) -> str:
    return host.output(_SCRIPT, verb, input=body, what=f"etcd's member {verb}")
