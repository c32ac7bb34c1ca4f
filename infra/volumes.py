"""What a stack claims, and whether the volumes of machines of your own are such.

A claim that no volume fits waits for ever, and the pod that needs it too.
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
"""Of Ray's head, for what it knows of the cluster."""
METRICS = "10Gi"
"""Of the Prometheus that the stack installs."""


@dataclass(frozen=True)
class Claim:
    """A claim of the stack's; `key` is the setting that says how large it is, empty where none does."""

    what: str
    key: str
    size: str
    storage_class: str


def claims(config: StackConfig) -> list[Claim]:
    """Of the stack and of the add-ons that it installs."""
    found = [Claim("Ray's control state", "", CONTROL_STATE, "")]
    if not config.data.uri:
        found.append(Claim("data", "data.storage", config.data.storage, config.data.storage_class))
    if config.database.kind == "cloudnativepg":
        found.append(Claim("the database", "database.storage", config.database.storage, config.database.storage_class))
    if config.addons.monitoring in ("auto", "install"):
        found.append(Claim("Prometheus", "", METRICS, ""))
    return [c for c in found if not (c.storage_class or config.kubernetes.storage_class)]


def mistakes(config: StackConfig) -> list[Mistake]:
    """What no volume of a cluster of machines of your own is."""
    if config.target != "onprem" or not (claimed := claims(config)):
        return []
    local = config.onprem.storage
    if local.kind == "none":
        names = ", ".join(claim.what for claim in claimed)
        fix = "set kind: local, or name the class of a provisioner that you install in kubernetes.storage_class"
        return [Mistake("onprem.storage.kind", f"is none, and {names} need volumes", fix)]
    from kubernetes.utils import quantity  # a second that other stacks need not wait for

    bytes_of: Callable[[str], Decimal] = quantity.parse_quantity  # without types of its own

    found = [
        Mistake(
            "onprem.storage.size",
            f"{local.size} is less than the {claim.size} of {claim.what}",
            f"raise it, or lower {claim.key}" if claim.key else f"raise it to {claim.size} or more",
        )
        for claim in claimed
        if bytes_of(local.size) < bytes_of(claim.size)
    ]
    shared = any(claim.what == "data" for claim in claimed) and config.data.access_mode == "ReadWriteMany"
    if shared:
        problem = "is ReadWriteMany, and volumes of onprem.storage lie on one node each"
        fix = "set ReadWriteOnce, or name a class of shared volumes in data.storage_class, or a bucket in data.uri"
        found.append(Mistake("data.access_mode", problem, fix))
    return found
