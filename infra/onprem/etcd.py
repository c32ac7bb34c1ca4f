"""Members of etcd, managed through the JSON gateway of a control plane, so that no host needs etcdctl.

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
    """Empty until the member has started."""
    peer: str
    """URL for the other members."""


def members(host: RemoteHost) -> list[EtcdMember]:
    """Returns all members, from the host's own etcd."""
    response = json.loads(_call_api(host, "list", "{}"))
    return [EtcdMember(m["ID"], m.get("name", ""), (m.get("peerURLs") or [""])[0]) for m in response.get("members", ())]


def remove(host: RemoteHost, name: str, address: str) -> None:
    """Removes the member of a lost control plane, if it exists.

    A member that never started has no name and is found by its host's address.
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
