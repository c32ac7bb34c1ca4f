"""The stack's volume claims, and whether the local volumes of an on-premises cluster can satisfy them.

A claim that no volume satisfies stays pending for ever, and so does its pod.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from infra.gpu import weights
from infra.mistakes import Mistake

if TYPE_CHECKING:
    from infra.config import StackConfig

CONTROL_STATE = "2Gi"
"""Size of the volume of Ray's head, which stores the state of the Ray cluster."""
METRICS = "10Gi"
"""Size of the volume of the Prometheus that the stack installs."""


@dataclass(frozen=True)
class Claim:
    """A volume claim of the stack; `key` is the setting for its size, empty for a fixed size."""

    what: str
    key: str
    size: str
    storage_class: str
    shared_by: str = ""
    """Setting of its access mode if pods on several nodes mount it; empty: they do not."""


def claims(config: StackConfig) -> list[Claim]:
    """Returns the claims without a storage class, of the stack and of the add-ons that it installs."""
    found = [Claim("Ray's control state", "", CONTROL_STATE, "")]
    if not config.data.uri:
        shared_by = "data.access_mode" if config.data.access_mode == "ReadWriteMany" else ""
        found.append(Claim("data", "data.storage", config.data.storage, config.data.storage_class, shared_by))
    if config.database.kind == "cloudnativepg":
        found.append(Claim("the database", "database.storage", config.database.storage, config.database.storage_class))
    if config.addons.monitoring in ("auto", "install"):
        found.append(Claim("Prometheus", "", METRICS, ""))
    found += _weights(config)
    return [c for c in found if not (c.storage_class or config.kubernetes.storage_class)]


def _weights(config: StackConfig) -> Iterator[Claim]:
    for i, pool in enumerate(config.pools):
        volume = pool.weights
        if volume is None or volume.kind == "node" or volume.claim:
            continue
        at = f"pools[{i}].weights"
        shared = volume.kind == "claim" and volume.access_mode == "ReadWriteMany"
        shared_by = f"{at}.access_mode" if shared else ""
        size = weights.volume_size(config, pool)
        yield Claim(f"the weights of pool '{pool.name}'", f"{at}.size", size, volume.storage_class, shared_by)


def mistakes(config: StackConfig) -> list[Mistake]:
    """Reports claims that the local volumes of an on-premises cluster cannot satisfy."""
    if config.target != "onprem" or not (claimed := claims(config)):
        return []
    local = config.onprem.storage
    if local.kind == "none":
        names = ", ".join(claim.what for claim in claimed)
        fix = "set kind: local, or set kubernetes.storage_class to the class of a provisioner that you install"
        return [Mistake("onprem.storage.kind", f"is none, but {names} need volumes", fix)]
    from kubernetes.utils import quantity  # takes a second to import, which other stacks do not need

    parse_bytes: Callable[[str], Decimal] = quantity.parse_quantity  # untyped in its package

    found = [
        Mistake(
            "onprem.storage.size",
            f"{local.size} is less than the {claim.size} of {claim.what}",
            f"raise it, or lower {claim.key}" if claim.key else f"raise it to at least {claim.size}",
        )
        for claim in claimed
        if parse_bytes(local.size) < parse_bytes(claim.size)
    ]
    for claim in claimed:
        if claim.shared_by:
            class_key = f"{claim.shared_by.rpartition('.')[0]}.storage_class"
            problem = "is ReadWriteMany, but each volume of onprem.storage is on one node"
            fix = f"set ReadWriteOnce, or set {class_key} to a class of shared volumes"
            fix += ", or set data.uri to a bucket" if claim.what == "data" else ", or use kind: node"
            found.append(Mistake(claim.shared_by, problem, fix))
    return found
