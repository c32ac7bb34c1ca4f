"""Every series that an expression may use."""

from __future__ import annotations

from collections.abc import Iterable

from monitoring.external import EXTERNAL
from monitoring.groups import GROUPS
from monitoring.rule import Group, Recording
from monitoring.series import OWN, Series, by_name


def recorded_series(groups: Iterable[Group]) -> dict[str, Series]:
    """Returns the series that recording rules make, by name; several rules may record the same one.

    Raises `ValueError` when rules of one name differ in labels, unit or help.
    """
    found: dict[str, Series] = {}
    for rule in (rule for group in groups for rule in group.rules if isinstance(rule, Recording)):
        labels = tuple(sorted({*rule.labels, *rule.fixed}))
        one = Series(rule.name, "gauge", rule.unit, labels, "rule", rule.help)
        if found.setdefault(rule.name, one) != one:
            raise ValueError(f"{rule.name} is recorded twice, with different labels, units or help texts")
    return found


KNOWN = by_name((*OWN.values(), *EXTERNAL.values(), *recorded_series(GROUPS).values()))
"""Headrace's own metrics, other programs' metrics, and recorded series."""
