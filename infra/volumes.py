"""The stack's volume claims, and whether the local volumes of an on-premises cluster can satisfy them.

A claim that no volume satisfies stays pending for ever, and so does its pod.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

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


def claims(config: StackConfig) -> list[Claim]:
    """Returns the claims without a storage class, of the stack and of the add-ons that it installs."""
    found = [Claim("Ray's control state", "", CONTROL_STATE, "")]
    if not config.data.uri:
        found.append(Claim("data", "data.storage", config.data.storage, config.data.storage_class))
    if config.database.kind == "cloudnativepg":
        found.append(Claim("the database", "database.storage", config.database.storage, config.database.storage_class))
    if config.addons.monitoring in ("auto", "install"):
        found.append(Claim("Prometheus", "", METRICS, ""))
    return [c for c in found if not (c.storage_class or config.kubernetes.storage_class)]


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
    shared = any(claim.what == "data" for claim in claimed) and config.data.access_mode == "ReadWriteMany"
    if shared:
        problem = "is ReadWriteMany, but each volume of onprem.storage is on one node"
        fix = "set ReadWriteOnce, set data.storage_class to a class of shared volumes, or set data.uri to a bucket"
        found.append(Mistake("data.access_mode", problem, fix))
    return found
