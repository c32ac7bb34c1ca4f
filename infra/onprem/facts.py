"""Facts about a host, gathered by one command that changes nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from infra.onprem.ssh import RemoteHost
from infra.onprem.template import read_file


@dataclass(frozen=True)
class HostFacts:
    """Facts about one host."""

    values: dict[str, str]
    lists: dict[str, list[str]] = field(default_factory=dict)
    """Facts with several values, such as missing programs and used ports."""
    skew_s: float = 0
    """How far the host's clock is ahead of this machine's."""

    def __getitem__(self, name: str) -> str:
        """Returns a fact; empty if the host did not report it."""
        return self.values.get(name, "")

    def number(self, name: str) -> int:
        return int(self.values.get(name) or 0)

    @property
    def legacy_cgroups(self) -> bool:
        """Whether the host has control groups of version 1, which the kubelet must explicitly allow."""
        return self["cgroups"] != "cgroup2fs"


def parse(output: str, before: float = 0, after: float = 0) -> HostFacts:
    """Parses the output of files/facts.sh; `before` and `after` are times of this machine around its run."""
    values: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    for line in output.splitlines():
        name, _, value = line.partition("=")
        values.setdefault(name, value.strip())
        lists.setdefault(name, []).append(value.strip())
    clock = float(values.get("clock") or 0)
    # The host read its clock between both times, so only a time outside of them is skew.
    skew = clock - after if clock > after else clock - before if clock < before else 0.0
    return HostFacts(values, lists, skew if clock and after else 0.0)


def gather(host: RemoteHost, ports: Sequence[int] = ()) -> HostFacts:
    """Gathers the facts of a host."""
    host.connect()
    before = time.time()
    output = host.output(read_file("facts.sh"), *map(str, ports), timeout_s=60)
    return parse(output, before, time.time())
