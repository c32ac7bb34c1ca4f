"""Every name that an expression may use."""

from __future__ import annotations

from collections.abc import Iterable

from monitoring.external import EXTERNAL
from monitoring.groups import GROUPS
from monitoring.rule import Group, Recording
from monitoring.series import OWN, Series, by_name


def recorded(groups: Iterable[Group]) -> dict[str, Series]:
    """The series that recording rules make; several rules may make one, each for another source.

    Raises `ValueError` when rules of one name differ in labels or unit.
    """
    found: dict[str, Series] = {}
    for rule in (rule for group in groups for rule in group.rules if isinstance(rule, Recording)):
        labels = tuple(sorted({*rule.labels, *rule.fixed}))
        one = Series(rule.name, "gauge", rule.unit, labels, "rule", rule.help)
        if found.setdefault(rule.name, one) != one:
            raise ValueError(f"{rule.name} is recorded with other labels, another unit or another help")
    return found


KNOWN = by_name((*OWN.values(), *EXTERNAL.values(), *recorded(GROUPS).values()))
"""Our own metrics, other programs' and what rules record."""
