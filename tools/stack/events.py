"""What Pulumi's engine reports while it previews, refreshes or updates: resources that change, drift, and errors.

The log has a JSON object per line: https://pkg.go.dev/github.com/pulumi/pulumi/sdk/v3/go/common/apitype#EngineEvent.
Secrets in it are masked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

Operation = Literal["create", "update", "replace", "delete"]
OPERATIONS: tuple[Operation, ...] = ("create", "update", "replace", "delete")

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""Stands for values that are only known after the update (`plugin.UnknownStringValue` in Pulumi's source)."""

GROUPS = ("kubernetes:helm.sh/v4:Chart", "kubernetes:yaml/v2:ConfigFile", "kubernetes:yaml/v2:ConfigGroup")
"""Components whose resources a provider registers."""


@dataclass(frozen=True)
class Property:
    """A property that differs, by its path; a value is None if it is not in the state or not in the program."""

    path: str
    before: object = None
    after: object = None


@dataclass(frozen=True)
class Change:
    """A resource that an update creates, changes, replaces or deletes, or that somebody else changed or deleted."""

    operation: Operation
    urn: str
    properties: tuple[Property, ...] = ()
    """The properties that differ; for a replacement, those that enforce it."""
    custom: bool = True
    """Whether a provider manages it; components only group resources."""
    protected: bool = False
    kept: bool = False
    """Whether the resource itself survives its removal from the state, or is the rest of a replacement."""
    parent: str = ""

    @property
    def type(self) -> str:
        """The type token, without those of its parents."""
        return self.urn.split("::")[2].rpartition("$")[2]

    @property
    def name(self) -> str:
        return self.urn.split("::", 3)[3]


@dataclass(frozen=True)
class Failure:
    """An error, and the resource at which it occurred; the URN is empty if there is none."""

    text: str
    urn: str = ""


@dataclass(frozen=True)
class Events:
    """The result of one run of the engine."""

    changes: tuple[Change, ...] = ()
    drift: tuple[Change, ...] = ()
    """What differs from the state because somebody else changed it."""
    failures: tuple[Failure, ...] = ()
    unseen: tuple[str, ...] = ()
    """Names of charts whose objects the preview could not see, because the cluster's credentials may change."""


def read_events(log: Path, *, refresh: bool = False) -> Events:
    """Reads the engine's log, of a refresh alone or else of an update or its preview.

    A log that does not exist has no events, since Pulumi then failed before its engine.
    """
    changes: dict[str, Change] = {}
    drift: dict[str, Change] = {}
    failures: list[Failure] = []
    parents: dict[str, str] = {}  # of what the program names
    for line in log.read_text().splitlines() if log.exists() else ():
        event = json.loads(line)
        if (before := event.get("resourcePreEvent")) and not refresh:
            metadata = before["metadata"]
            _add_change(metadata, changes)
            if metadata["op"] != "refresh" and (new := metadata.get("new")):
                parents[metadata["urn"]] = new.get("parent") or ""
        elif (after := event.get("resOutputsEvent")) and (refresh or after["metadata"]["op"] == "refresh"):
            _add_drift(after["metadata"], drift)
        elif (said := event.get("diagnosticEvent")) and said["severity"] == "error":
            failures.append(Failure(re.sub(r"<\{%[^%]*%\}>", "", said["message"]).strip(), said.get("urn", "")))
    unseen = {c.parent for c in changes.values() if c.operation == "delete" and _is_unseen(c.parent, parents)}
    below = set(unseen)
    while more := {c.urn for c in changes.values() if c.operation == "delete" and c.parent in below} - below:
        below |= more
    seen = tuple(c for c in changes.values() if c.urn not in below)
    return Events(seen, tuple(drift.values()), tuple(failures), tuple(sorted(urn.split("::", 3)[3] for urn in unseen)))


def _is_unseen(urn: str, parents: Mapping[str, str]) -> bool:
    """Returns whether the program still has a group of objects, but none of its objects.

    The configuration of the group's provider is then not known yet, and so Pulumi registers the group alone: the
    preview takes its objects for deleted, but the update does not.
    """
    return urn in parents and urn not in parents.values() and urn.split("::")[2].rpartition("$")[2] in GROUPS


def _add_change(metadata: Mapping[str, Any], changes: dict[str, Change]) -> None:
    operation, urn = metadata["op"], metadata["urn"]
    if operation not in OPERATIONS or _is_internal(urn):
        return
    old, new = metadata.get("old") or {}, metadata.get("new") or {}
    state = old or new
    changes[urn] = Change(
        cast(Operation, operation),
        urn,
        _properties(metadata, old.get("inputs") or {}, new.get("inputs") or {}, operation == "replace"),
        custom=bool(state.get("custom")),
        protected=bool(old.get("protect")),
        kept=operation == "delete" and bool(old.get("retainOnDelete") or old.get("delete")),
        parent=state.get("parent") or "",
    )


def _add_drift(metadata: Mapping[str, Any], drift: dict[str, Change]) -> None:
    """Adds a refreshed resource that is gone, or that has other properties than its state."""
    urn = metadata["urn"]
    if _is_internal(urn):
        return
    old, new = metadata.get("old") or {}, metadata.get("new")
    if new is None:
        drift[urn] = Change("delete", urn)
    elif properties := _properties(metadata, old.get("inputs") or {}, new.get("inputs") or {}, replaced=False):
        drift[urn] = Change("update", urn, properties)


def _properties(
    metadata: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any], replaced: bool
) -> tuple[Property, ...]:
    detailed = metadata.get("detailedDiff") or {}
    paths = [path for path, diff in detailed.items() if not replaced or diff["diffKind"].endswith("-replace")]
    if not paths:
        paths = list((metadata.get("keys") if replaced else metadata.get("diffs")) or ())
    return tuple(Property(path, _at(before, path), _at(after, path)) for path in paths)


def _at(values: Any, path: str) -> object:
    """Returns the value at a property path such as `spec.pools[0]["a.b"]`; None if there is none."""
    for quoted, index, name in re.findall(r'\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]|([^.\[\]]+)', path):
        key = quoted or name
        if index:
            values = values[int(index)] if isinstance(values, list) and int(index) < len(values) else None
        else:
            values = values.get(key) if isinstance(values, Mapping) else None
    return cast(object, values)


def _is_internal(urn: str) -> bool:
    """Returns whether a resource is one of Pulumi's own: the stack itself, or a provider."""
    kind = urn.split("::")[2].rpartition("$")[2]
    return kind == "pulumi:pulumi:Stack" or kind.startswith("pulumi:providers:")
