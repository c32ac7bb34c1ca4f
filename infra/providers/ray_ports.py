"""Ray's internal ports: one block for each Ray, so that several can run on one host."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from infra.providers import ports
from infra.resources.problem import Problem

SIZE = 1000
BASES = range(11_000, 31_000, SIZE)
"""First ports of the blocks, below the kernel's ephemeral range (from 32768), which outgoing connections use."""


@dataclass(frozen=True)
class RayPorts:
    """The ports of one Ray, counted from `base`."""

    base: int

    @property
    def gcs(self) -> int:
        return self.base

    @property
    def node_manager(self) -> int:
        return self.base + 1

    @property
    def object_manager(self) -> int:
        return self.base + 2

    @property
    def client_server(self) -> int:
        return self.base + 3

    @property
    def agent_http(self) -> int:
        return self.base + 4

    @property
    def agent_grpc(self) -> int:
        return self.base + 5

    @property
    def runtime_env(self) -> int:
        return self.base + 6

    @property
    def metrics(self) -> int:
        """Ray's own Prometheus metrics."""
        return self.base + 7

    @property
    def haproxy_metrics(self) -> int:
        return self.base + 8

    @property
    def haproxy_stats(self) -> int:
        return self.base + 9

    @property
    def fallback_http(self) -> int:
        return self.base + 10

    @property
    def fallback_grpc(self) -> int:
        return self.base + 11

    @property
    def autoscaler_metrics(self) -> int:
        return self.base + 12

    @property
    def dashboard_metrics(self) -> int:
        return self.base + 13

    @property
    def replicas_http(self) -> tuple[int, int]:
        """First and last port. There are many, since a released port is not reused while HAProxy may still know it."""
        return self.base + 20, self.base + 419

    @property
    def replicas_grpc(self) -> tuple[int, int]:
        return self.base + 420, self.base + 819

    @property
    def workers(self) -> tuple[int, int]:
        return self.base + 820, self.base + SIZE - 1


def choose(wanted: int, seed: str) -> RayPorts:
    """Returns the block at `wanted`, or a free block if it is 0; `seed` distributes stacks that start at once.

    Raises `Problem` if there is none.
    """
    start = int(hashlib.sha256(seed.encode()).hexdigest(), 16) % len(BASES)
    bases = [wanted] if wanted else [*BASES[start:], *BASES[:start]]
    base = ports.free_block(SIZE, bases)
    if base is not None:
        return RayPorts(base)
    if wanted:
        busy = next(p for p in range(wanted, wanted + SIZE) if not ports.is_free(p))
        raise Problem(
            f"port {busy} of Ray's block {wanted}-{wanted + SIZE - 1} is used by {ports.occupant(busy, ())}; "
            "set headrace:ports.ray to another base, or to 0 to choose one automatically"
        )
    raise Problem(f"no block of {SIZE} free ports from {BASES[0]} on; set headrace:ports.ray to a free base")
