"""The base class of resource providers, which work on dictionaries of plain Python values.

The server converts Pulumi's property values to plain values and back. A value that is unknown during a preview is
`UNKNOWN`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from infra.resources.problem import Interrupted

Values = dict[str, Any]


class Task:
    """Progress messages and cancellation of one operation."""

    def __init__(self, show: Callable[[str], None], cancelled: threading.Event | None = None) -> None:
        self._show = show
        self._cancelled = cancelled or threading.Event()

    def say(self, message: str) -> None:
        """Shows a progress message."""
        self._show(message)

    def pause(self, seconds: float) -> None:
        """Sleeps; raises `Interrupted` as soon as the operator cancels the operation."""
        if self._cancelled.wait(seconds):
            raise Interrupted("interrupted; the next `make up` continues from here")


class Unknown:
    """The type of `UNKNOWN`."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


def fingerprint(value: object) -> str:
    """Returns a short digest of plain values, which is the same for equal values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Difference:
    """Difference between new inputs and the current state."""

    changed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    """Changed inputs that require a replacement."""


@dataclass(frozen=True)
class Found:
    """Result of a refresh; `id` is None if the resource no longer exists."""

    id: str | None = None
    outputs: Values = field(default_factory=dict)


class Resource:
    """Implements one resource type. Raises `Problem` for errors that the operator can fix."""

    replace_on: frozenset[str] = frozenset()
    secret_outputs: frozenset[str] = frozenset()
    computed: frozenset[str] = frozenset()
    """Outputs that are not inputs, which are unknown in a preview until the resource exists."""

    def check(self, new: Values) -> dict[str, str]:
        """Returns the problems of new inputs, by property."""
        del new
        return {}

    def diff(self, old: Values, new: Values) -> Difference:
        """Compares inputs. Drift that `read` found counts as a change too."""
        changed = tuple(k for k in sorted(new) if new[k] is UNKNOWN or old.get(k) != new[k])
        drifted = ("drifted",) if old.get("drifted") else ()
        return Difference((*changed, *drifted), tuple(k for k in changed if k in self.replace_on))

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        """Creates the resource, or adopts it if it exists; returns its id and outputs."""
        raise NotImplementedError

    def read(self, id: str, old: Values) -> Found:
        raise NotImplementedError

    def update(self, id: str, old: Values, new: Values, task: Task) -> Values:
        """Changes the resource from `old` to `new` in place, by default as `create` does; returns its outputs."""
        return self.create(new, task)[1]

    def delete(self, id: str, old: Values, task: Task) -> None:
        """Deletes the resource; does nothing if it no longer exists."""
        raise NotImplementedError


def strings(value: Any) -> dict[str, str]:
    """Converts an untyped input to a mapping of strings."""
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, Mapping) else {}
