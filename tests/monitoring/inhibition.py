"""Alertmanager's inhibition, as its documentation says: which of several alerts notify nobody."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Labels = Mapping[str, str]
KEYS = frozenset({"source_matchers", "target_matchers", "equal"})
"""Of the documented keys of an entry of `inhibit_rules` those that are not deprecated, and that Alertmanager 0.28 knows
too: a key that it does not know keeps it from starting."""
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_MATCHER = re.compile(rf'({LABEL.pattern})\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|[^\s"{{}}!=~,\\`\']+)')


def mistakes(rule: Mapping[str, Any]) -> list[str]:
    """Returns what is wrong in an entry of `inhibit_rules`, by the documented form."""
    found = [f"there is no key {key}" for key in rule.keys() - KEYS]
    if not rule.get("target_matchers"):
        found.append("it silences everything")
    for side in ("source_matchers", "target_matchers"):
        found += [f"{text} is no matcher" for text in rule.get(side, ()) if not _MATCHER.fullmatch(text)]
    return found + [f"{name} is no label" for name in rule.get("equal", ()) if not LABEL.fullmatch(name)]


def silenced(rules: Sequence[Mapping[str, Any]], firing: Sequence[Labels]) -> list[Labels]:
    """Returns the alerts that are silenced by others: also by those that are silenced themselves."""
    return [alert for alert in firing if any(_silences(rule, alert, firing) for rule in rules)]


def _silences(rule: Mapping[str, Any], target: Labels, firing: Sequence[Labels]) -> bool:
    sources, targets = (_matching(rule.get(f"{side}_matchers", ())) for side in ("source", "target"))
    if not targets(target):
        return False
    # Who is on both sides is silenced only by those who are not.
    return any(
        sources(source)
        and not (sources(target) and targets(source))
        and all(source.get(name, "") == target.get(name, "") for name in rule.get("equal", ()))
        for source in firing
    )


def _matching(matchers: Sequence[str]) -> Callable[[Labels], bool]:
    parsed = []
    for text in matchers:
        found = _MATCHER.fullmatch(text)
        assert found, text
        parsed.append((found[1], found[2], found[3].strip('"')))

    def matches(labels: Labels) -> bool:
        for name, operator, value in parsed:
            given = labels.get(name, "")
            same = re.fullmatch(value, given) is not None if "~" in operator else given == value
            if same == operator.startswith("!"):
                return False
        return True

    return matches
