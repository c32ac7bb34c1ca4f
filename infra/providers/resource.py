"""What every resource of ours has in common: plain values in, plain values out.

A resource works on dictionaries of plain Python values; the server turns Pulumi's property values into them
and back. A value that is not known during a preview is `UNKNOWN`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from infra.providers.problem import Interrupted

Values = dict[str, Any]


class Task:
    """One operation as the person who waits for it sees it: progress, and a way to stop it."""

    def __init__(self, show: Callable[[str], None], cancelled: threading.Event | None = None) -> None:
        self._show = show
        self._cancelled = cancelled or threading.Event()

    def say(self, message: str) -> None:
        """Shows a line of progress."""
        self._show(message)

    def pause(self, seconds: float) -> None:
        """Waits; raises `Interrupted` as soon as the operator asks to stop."""
        if self._cancelled.wait(seconds):
            raise Interrupted("interrupted; what already runs is taken up again by the next `make up`")


class Unknown:
    """The type of `UNKNOWN`."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


def fingerprint(value: object) -> str:
    """A short digest of plain values: equal values, equal digest."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Difference:
    """How wanted inputs differ from what there is."""

    changed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    """The changes that cannot be made in place."""


@dataclass(frozen=True)
class Found:
    """What a refresh found; `id` is None when the thing is gone."""

    id: str | None = None
    outputs: Values = field(default_factory=dict)


class Resource:
    """One kind of resource. Raises `Problem` for what the operator can put right."""

    replace_on: frozenset[str] = frozenset()
    secret_outputs: frozenset[str] = frozenset()
    computed: frozenset[str] = frozenset()
    """Outputs that are not inputs: unknown in a preview until the resource exists."""

    def check(self, new: Values) -> dict[str, str]:
        """Returns what is wrong with the wanted inputs, by property."""
        del new
        return {}

    def diff(self, old: Values, new: Values) -> Difference:
        """Compares inputs; what `read` found to have drifted by itself counts as a change too."""
        changed = tuple(k for k in sorted(new) if new[k] is UNKNOWN or old.get(k) != new[k])
        drifted = ("drifted",) if old.get("drifted") else ()
        return Difference((*changed, *drifted), tuple(k for k in changed if k in self.replace_on))

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        """Makes the thing, or adopts it where it already is; returns its id and outputs."""
        raise NotImplementedError

    def read(self, id: str, old: Values) -> Found:
        raise NotImplementedError

    def update(self, id: str, old: Values, new: Values, task: Task) -> Values:
        """Brings the thing from `old` to `new` in place; returns its outputs."""
        raise NotImplementedError

    def delete(self, id: str, old: Values, task: Task) -> None:
        """Ends the thing; a thing that is already gone is no error."""
        raise NotImplementedError


def strings(value: Any) -> dict[str, str]:
    """A mapping of strings out of untyped inputs."""
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, Mapping) else {}
