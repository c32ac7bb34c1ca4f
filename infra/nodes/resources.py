"""Resource quantities of nodes and pods."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

MIB = 1024**2
GIB = 1024**3

_FACTORS = {"m": Decimal("0.001"), "": Decimal(1)}
_FACTORS |= {unit: Decimal(1000) ** power for power, unit in enumerate("kMGT", 1)}
_FACTORS |= {f"{unit.upper()}i": Decimal(1024) ** power for power, unit in enumerate("kMGT", 1)}


def parse_quantity(text: str) -> Decimal:
    """Returns a quantity in Kubernetes' notation, such as 500m or 4Gi, as a number.

    The package `kubernetes` has this function, but takes a second to import. Raises `ValueError` for any other
    notation.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]*)", text)
    if found is None or found[2] not in _FACTORS:
        raise ValueError(f"'{text}' is not a quantity")
    return Decimal(found[1]) * _FACTORS[found[2]]


def _round_up(amount: Decimal) -> int:
    return int(amount.to_integral_value(ROUND_CEILING))


@dataclass(frozen=True)
class Resources:
    """The resources of a node, or the requests of a pod."""

    cpu: int = 0
    """Thousandths of a CPU."""
    memory: int = 0
    """Bytes."""
    storage: int = 0
    """Bytes of the node's disk (`ephemeral-storage`)."""
    gpus: int = 0
    pods: int = 0
    """Number of pods, of which a kubelet runs only so many. 0 for what is no pod on a node."""

    @classmethod
    def parse(cls, cpu: str = "0", memory: str = "0", storage: str = "0", gpus: int = 0) -> Resources:
        """Parses quantities in Kubernetes' notation; fractions of a thousandth or a byte are rounded up."""
        return cls(
            _round_up(parse_quantity(cpu) * 1000),
            _round_up(parse_quantity(memory)),
            _round_up(parse_quantity(storage)),
            gpus,
        )

    def __add__(self, other: Resources) -> Resources:
        return Resources(*(one + another for one, another in zip(self.amounts, other.amounts, strict=True)))

    def __sub__(self, other: Resources) -> Resources:
        return Resources(*(one - another for one, another in zip(self.amounts, other.amounts, strict=True)))

    def __or__(self, other: Resources) -> Resources:
        """Returns the larger of each resource: the request of containers that run one after the other."""
        return Resources(*map(max, self.amounts, other.amounts))

    @property
    def amounts(self) -> tuple[int, int, int, int, int]:
        """All resources, in the order of the fields."""
        return self.cpu, self.memory, self.storage, self.gpus, self.pods

    def lacking(self, wanted: Resources) -> list[str]:
        """Returns what is missing for `wanted`, as text; empty if it fits."""
        found = []
        if wanted.cpu > self.cpu:
            found.append(f"{wanted.cpu / 1000:g} CPUs where {max(self.cpu, 0) / 1000:g} are free")
        for name, needed, free in (
            ("memory", wanted.memory, self.memory),
            ("disk", wanted.storage, self.storage),
        ):
            if needed > free:
                found.append(f"{needed / GIB:.1f} GiB of {name} where {max(free, 0) / GIB:.1f} GiB are free")
        if wanted.gpus > self.gpus:
            found.append(f"{wanted.gpus} GPU{'s' * (wanted.gpus > 1)} where {max(self.gpus, 0)} are free")
        if wanted.pods > self.pods:
            found.append("a further pod where the kubelet runs no more")
        return found

    def holds(self, wanted: Resources) -> bool:
        """Returns whether `wanted` fits."""
        return (
            wanted.cpu <= self.cpu
            and wanted.memory <= self.memory
            and wanted.storage <= self.storage
            and wanted.gpus <= self.gpus
            and wanted.pods <= self.pods
        )
