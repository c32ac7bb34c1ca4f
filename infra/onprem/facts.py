"""What a host is, asked in one command that changes nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from infra.onprem.ssh import RemoteHost
from infra.onprem.template import read_file


@dataclass(frozen=True)
class HostFacts:
    """About one host."""

    values: dict[str, str]
    lists: dict[str, list[str]] = field(default_factory=dict)
    """Of what may be said several times: what it lacks, what is taken."""
    skew_s: float = 0
    """How far its clock is ahead of ours."""

    def __getitem__(self, name: str) -> str:
        """Empty when the host does not say it."""
        return self.values.get(name, "")

    def number(self, name: str) -> int:
        return int(self.values.get(name) or 0)

    @property
    def legacy_cgroups(self) -> bool:
        """Control groups of version 1, which the kubelet takes only when told to."""
        return self["cgroups"] != "cgroup2fs"


def parse(said: str, before: float = 0, after: float = 0) -> HostFacts:
    """Facts out of what files/facts.sh prints; `before` and `after` are our clock around it."""
    values: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    for line in said.splitlines():
        name, _, value = line.partition("=")
        values.setdefault(name, value.strip())
        lists.setdefault(name, []).append(value.strip())
    clock = float(values.get("clock") or 0)
    # Its clock was read at some time in between: only what no delay explains is skew.
    skew = clock - after if clock > after else clock - before if clock < before else 0.0
    return HostFacts(values, lists, skew if clock and after else 0.0)


def gather(host: RemoteHost, ports: Sequence[int] = ()) -> HostFacts:
    """Asks a host."""
    host.connect()
    before = time.time()
    said = host.output(read_file("facts.sh"), *map(str, ports), timeout_s=60)
    return parse(said, before, time.time())
