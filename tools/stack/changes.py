"""What an update would do, in plain words, and which of its changes destroy something that nobody has named."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from infra.resources.holding import Holding
from infra.targets.operations import ADDON, foreign, holdings
from infra.versions import OLDEST_NODES
from tools.stack.events import OPERATIONS, UNKNOWN, Change, Property

LISTED = 20
"""Changed resources that are listed; replaced and deleted ones are all listed."""

PROPERTIES = 3
"""Properties of a resource that are listed."""

MAX_VALUE_CHARACTERS = 60
"""Longer values are not shown."""

PAST = {"create": "created", "update": "changed", "replace": "replaced", "delete": "deleted"}
NAMESPACE = "kubernetes:core/v1:Namespace"


def describe(changes: Sequence[Change]) -> Iterator[str]:
    """Yields lines that say what an update would do: how many resources, and which of them."""
    own = [c for c in changes if c.custom]
    counts = Counter(c.operation for c in own)
    if not own:
        yield "Nothing changes."
        return
    said = [f"{counts[operation]} {PAST[operation]}" for operation in OPERATIONS if counts[operation]]
    yield f"Resources that this changes: {', '.join(said)}."
    for operation in ("delete", "replace"):
        yield from (f"  {operation:<8} {title(c)}{_because(c)}" for c in own if c.operation == operation)
    updated = [c for c in own if c.operation == "update"]
    yield from (f"  {'change':<8} {title(c)}{_because(c)}" for c in updated[:LISTED])
    if len(updated) > LISTED:
        yield f"  {'change':<8} {len(updated) - LISTED} more"


def describe_drift(drift: Sequence[Change]) -> Iterator[str]:
    """Yields lines that say what somebody else has changed; none if nobody has."""
    others = foreign()
    for change in drift:
        if change.operation == "delete":
            yield f"  gone     {title(change)}"
            continue
        ignored = tuple(others.get(change.type, ()))
        paths = [p.path for p in change.properties if not (ignored and p.path.startswith(ignored))]
        if paths:
            yield f"  changed  {title(change)}: {_listing(paths)}"


def title(change: Change) -> str:
    """Returns the kind and the name of a resource, for people."""
    holding = holdings().get(change.type)
    kind = holding.kind if holding else re.split(r"[:/]", change.type)[-1]
    return f"{kind} {change.name}"


def destroyed(changes: Sequence[Change]) -> list[tuple[Change, Holding]]:
    """Returns the changes that destroy data or machines, with what they hold."""
    known = holdings()
    found = []
    for change in changes:
        holding = known.get(change.type)
        if holding is None or change.operation not in ("replace", "delete") or change.kept:
            continue
        # An add-on's own namespace goes with the add-on, which is named.
        of_addon = change.type == NAMESPACE and ADDON in change.parent
        if not of_addon and re.search(holding.only, change.name):
            found.append((change, holding))
    return found


def objections(changes: Sequence[Change], named: Collection[str], stack: str) -> list[str]:
    """Returns why an update must not run: it destroys what `named` does not contain, or what is protected.

    The last line says what to do. Returns nothing if the update may run.
    """
    found = destroyed(changes)
    unnamed = [(c, h) for c, h in found if c.name not in named]
    protected = [(c, h) for c, h in found if c.protected]
    if not unnamed and not protected:
        return []
    lines = [
        f"  {holding.kind} {change.name} would be {PAST[change.operation]}, and with it {holding.loses}: "
        + _reason(change, holding)
        for change, holding in found
        if (change, holding) in unnamed or change.protected
    ]
    if unnamed:
        flags = " ".join(f"--destroy {name}" for name in dict.fromkeys(c.name for c, _ in found))
        lines.append(f'undo these settings, or destroy it by name: make up STACK={stack} ARGS="{flags}"')
    return [*lines, *protections(c for c, _ in protected)]


def version_skews(changes: Sequence[Change]) -> list[str]:
    """Returns why upgrades of Kubernetes would fail: a step back or over a minor version, or nodes that are too old."""
    known = holdings()
    found, steps = [], []
    for change in changes:
        holding = known.get(change.type)
        for each in change.properties if holding and holding.version and change.operation == "update" else ():
            before, after = _minor(each.before), _minor(each.after)
            if holding and each.path == holding.version and before and after:
                steps.append((change, holding, before, after))
    clusters = [step for step in steps if step[1].kind == "cluster"]
    for change, _, before, after in clusters:
        if after < before:
            found.append(f"  {title(change)} has Kubernetes 1.{before}, which cannot be downgraded to 1.{after}")
        elif after > before + 1:
            step = f"from 1.{before} to 1.{after}: go to 1.{before + 1} first"
            found.append(f"  {title(change)} would skip a minor version, {step}")
    newest = max((after for _, _, _, after in clusters), default=0)
    found += [
        f"  {title(change)} has Kubernetes 1.{before}, too old for a control plane of 1.{newest}: upgrade nodes first"
        for change, holding, before, _ in steps
        if holding.kind != "cluster" and newest - before > OLDEST_NODES
    ]
    return found


def _minor(version: object) -> int:
    """Returns the minor version of Kubernetes 1; 0 if it is none."""
    found = re.match(r"1\.(\d+)", version) if isinstance(version, str) else None
    return int(found[1]) if found else 0


def protections(changes: Iterable[Change]) -> list[str]:
    """Returns which of the resources that would be deleted or replaced are protected, and how to change that."""
    names = [title(c) for c in changes if c.protected and c.operation in ("delete", "replace")]
    if not names:
        return []
    return [
        f"protected from deletion: {', '.join(names)}; set deletion_protection: false in headrace:cluster,"
        " and run `make up` with that change alone before"
    ]


def losses(changes: Sequence[Change], stack: str) -> Iterator[str]:
    """Yields lines that say what is lost with a stack: how many resources, and those that hold data or machines."""
    number = sum(c.custom for c in changes)
    if not number:
        yield f"The stack '{stack}' has no resources any more; its state is deleted."
        return
    yield f"This deletes the stack '{stack}': {number} resources and its state, for good. This is lost with it:"
    yield from (f"  {title(change)}: {holding.loses}" for change, holding in destroyed(changes))
    yield from (f"  not {title(change)}, which stays" for change in changes if change.custom and change.kept)


def _reason(change: Change, holding: Holding) -> str:
    """Returns which property of which setting causes a replacement or a deletion."""
    if change.operation == "delete":
        return f"the configuration no longer has it ({holding.added_by})"
    if not change.properties:
        return "its provider requires it"
    reasons = []
    for each in change.properties:
        setting = holding.setting_of(each.path, change.name)
        reasons.append(f"{_difference(each)}{f' ({setting})' if setting else ''}")
    return "; ".join(reasons)


def _difference(each: Property) -> str:
    if each.path == "provider":
        return "it moves to another cluster or account"
    if each.before == each.after or UNKNOWN in json.dumps(each.after):
        return f"{each.path} depends on something that is replaced"
    before, after = _printable(each.before), _printable(each.after)
    return f"{each.path} changes from {before} to {after}" if before and after else f"{each.path} changes"


def _printable(value: object) -> str:
    """Returns a value for people; empty if it is long or contains secrets."""
    text = json.dumps(value)
    return "" if len(text) > MAX_VALUE_CHARACTERS or "ciphertext" in text or "[secret]" in text else text


def _because(change: Change) -> str:
    return f": {_listing([p.path for p in change.properties])}" if change.properties else ""


def _listing(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - PROPERTIES} more" if len(paths) > PROPERTIES else ""
    return f"{', '.join(paths[:PROPERTIES])}{more}"
