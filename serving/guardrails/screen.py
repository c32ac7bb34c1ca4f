"""Applies rules to a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from serving.config import GuardAction
from serving.guardrails.rules.finding import Check, Finding

MAX_FOUND = 1000
"""Maximum number of findings of one check in one text."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A check with its `name`, and the action on its findings."""

    name: str
    action: GuardAction
    check: Check


@dataclass(frozen=True, slots=True)
class RuleFinding:
    """A finding of a rule; offsets are those in the checked text."""

    rule: Rule
    finding: Finding

    @property
    def action(self) -> GuardAction:
        """The rule's action."""
        return self.rule.action


@dataclass(frozen=True, slots=True)
class Screened:
    """A text after its rules; with `blocked`, only the part before the first blocking finding."""

    text: str
    found: tuple[RuleFinding, ...] = ()
    blocked: bool = False


def find(text: str, rules: Sequence[Rule], start: int = 0) -> list[RuleFinding]:
    """Returns the findings of the rules at or after `start`, in order."""
    found = [RuleFinding(rule, finding) for rule in rules for finding in _bounded(rule.check.find(text, start))]
    return sorted(found, key=lambda f: (f.finding.start, f.finding.end, f.rule.name, f.finding.kind))


def _bounded(found: list[Finding]) -> list[Finding]:
    """Returns the findings, of which those from the maximum number on are merged into one."""
    if len(found) <= MAX_FOUND:
        return found
    found = sorted(found, key=lambda f: (f.start, f.end))
    last = found[MAX_FOUND - 1]
    return [*found[: MAX_FOUND - 1], replace(last, end=max(f.end for f in found[MAX_FOUND - 1 :]))]


def screen(text: str, rules: Sequence[Rule]) -> Screened:
    """Returns `text` without what the rules remove."""
    return apply(text, find(text, rules))


def apply(text: str, found: Sequence[RuleFinding], start: int = 0, end: int | None = None) -> Screened:
    """Returns `text[start:end]` after the actions on what was `found`: it is truncated at a block, and redacted parts
    are replaced by notes.
    """
    end = len(text) if end is None else end
    stop = min((f.finding.start for f in found if f.action == "block"), default=None)
    out: list[str] = []
    at = start
    for first, last, note in _redactions(found):
        if stop is not None and first >= stop:
            break
        out += [text[at : max(first, at)], note]
        at = max(last, at)
    out.append(text[at : end if stop is None else max(stop, at)])
    return Screened("".join(out), tuple(found), stop is not None)


def _redactions(found: Sequence[RuleFinding]) -> list[tuple[int, int, str]]:
    """Returns the spans to remove, merged if they touch, each with its replacement."""
    spans: list[tuple[int, int, str]] = []
    for f in found:
        if f.action != "redact":
            continue
        first, last = f.finding.start, f.finding.end
        if spans and first < spans[-1][1]:
            before = spans[-1]
            spans[-1] = (before[0], max(before[1], last), before[2])
        else:
            spans.append((first, last, f"[removed: {f.finding.kind}]"))
    return spans


def screen_arguments(arguments: str, rules: Sequence[Rule]) -> Screened:
    """Returns a call's arguments after their rules: they stay valid JSON.

    Offsets of findings are those within one text of the arguments.
    """
    try:
        document = json.loads(arguments)
    except (ValueError, RecursionError):
        return screen(arguments, rules)
    found: list[RuleFinding] = []
    blocked = False

    def walk(value: object, name: str = "") -> object:
        nonlocal blocked
        if isinstance(value, dict):
            return {screened(key): walk(item, str(key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, name) for item in value]
        if isinstance(value, str):
            return screened(value, name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            plain = repr(value)
            clean = screened(plain, name)
            return value if clean == plain else clean
        return value

    def screened(text: str, name: str = "") -> str:
        nonlocal blocked
        # A name gives context to its value: `{"password": "..."}`.
        before = f"{name}: " if name else ""
        result = apply(before + text, [f for f in find(before + text, rules) if f.finding.end > len(before)])
        if not result.found:
            return text
        moved = [_moved(f, len(before)) for f in result.found]
        found.extend(moved)
        blocked = blocked or result.blocked
        return apply(text, moved).text

    clean = walk(document)
    if not found:
        return Screened(arguments)
    return Screened(json.dumps(clean, ensure_ascii=False), tuple(found), blocked)


def _moved(found: RuleFinding, by: int) -> RuleFinding:
    f = found.finding
    return RuleFinding(found.rule, Finding(max(f.start - by, 0), f.end - by, f.kind))
