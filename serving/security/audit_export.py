"""Exports of the audit log as JSON Lines, and their verification without a database.

A whole chain is followed by its anchor. An export of some events begins with a line that says which, and ends with one
that signs their number and a digest of their hashes: it shows that each is unchanged, and that none is missing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from serving.core.ids import now
from serving.store.audit import AuditRows, Row, Selected
from serving.store.audit_chain import (
    Anchor,
    Digest,
    Problem,
    Selection,
    SelectionVerifier,
    Verifier,
    anchor,
    as_document,
    genuine,
    key_id,
    selection,
)
from serving.store.errors import InvalidValue


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of verifying one chain. `unchecked` events and anchors need keys that were not given."""

    tenant: str
    events: int
    head: tuple[int, str]
    problems: list[Problem]
    unchecked: int

    @property
    def valid(self) -> bool:
        """Whether the whole chain is known to be unchanged."""
        return not self.problems and not self.unchecked


class AuditExport:
    """Exports chains. `key` is the key of new events."""

    def __init__(self, rows: AuditRows, key: bytes) -> None:
        self._rows = rows
        self._key = key
        self._reading = asyncio.Lock()  # concurrent exports would leave the database little time

    def __repr__(self) -> str:
        return "AuditExport()"

    async def lines(self, tenant: str, which: Selected | None = None) -> AsyncIterator[bytes]:
        """Yields the lines of a chain, or of the chosen events, up to its last event now: many at once.

        Nothing is yielded for a chain without events.
        """
        seq, hash = await self._rows.head(tenant)
        if not seq:
            return
        digest = Digest()
        filter = asdict(which) if which is not None else None
        if filter is not None:
            yield _encoded({"filter": {"tenant": tenant, **filter}})
        found = self._rows.selected(tenant, which or Selected(), seq)
        while True:
            async with self._reading:
                rows: list[Row] | None = await anext(found, None)
            if rows is None:
                break
            for row in rows:
                digest.add(row["hash"])
            yield b"".join(_encoded(row) for row in rows)
        at = int(now() * 1000)
        if filter is None:
            yield _encoded({"anchor": as_document(anchor(self._key, tenant, seq, hash, at))})
        else:
            yield _encoded({"selection": as_document(selection(self._key, tenant, filter, digest, at))})


def verify_export(keys: Sequence[bytes], lines: Iterator[str], anchors: Sequence[Anchor] = ()) -> list[Verification]:
    """Verifies an export with the keys of its events.

    Raises `InvalidValue` for a line that is not part of an export.
    """
    read = _ExportReader(keys, anchors)
    for number, line in enumerate(lines, 1):
        read.line(parsed(number, line))
    return read.end()


class _ExportReader:
    def __init__(self, keys: Sequence[bytes], anchors: Sequence[Anchor]) -> None:
        self._keys = keys
        self._by_id = {key_id(key): key for key in keys}
        self._anchors = anchors
        self._chains: dict[str, Verifier] = {}
        self._ended: set[str] = set()

    def line(self, document: dict[str, Any]) -> None:
        """Reads the next line."""
        if isinstance(filter := document.get("filter"), dict):
            fields = {name: value for name, value in filter.items() if name != "tenant"}
            tenant = str(filter.get("tenant"))
            self._chains[tenant] = SelectionVerifier(self._keys, tenant, fields)
        elif (chosen := _selection_of(document)) is not None:
            verifier = self._verifier(chosen.tenant)
            if isinstance(verifier, SelectionVerifier):
                verifier.close(chosen)
                self._ended.add(chosen.tenant)
        elif (end := anchor_of(document)) is not None:
            self._end(end)
        else:
            self._verifier(str(document.get("tenant"))).read(document)

    def _verifier(self, tenant: str) -> Verifier:
        if tenant not in self._chains:
            self._chains[tenant] = Verifier(self._keys, tenant, self._anchors)
        return self._chains[tenant]

    def _end(self, end: Anchor) -> None:
        verifier, key = self._verifier(end.tenant), self._by_id.get(end.signed_with)
        if (end.seq, end.hash) != verifier.head or (key is not None and not genuine(key, end)):
            verifier.problems.append(Problem(end.tenant, end.seq, "is not the last event of the export"))
            return
        if key is None:
            verifier.unchecked += 1
        self._ended.add(end.tenant)

    def end(self) -> list[Verification]:
        """Returns what was found about each chain."""
        for tenant, verifier in self._chains.items():
            if tenant not in self._ended:
                message = "is not followed by the end of the export, which was truncated"
                verifier.problems.append(Problem(tenant, verifier.head[0], message))
        for tenant in {a.tenant for a in self._anchors} - set(self._chains):
            self._chains[tenant] = Verifier(self._keys, tenant, self._anchors)
        return [verification(tenant, verifier) for tenant, verifier in sorted(self._chains.items())]


def verification(tenant: str, verifier: Verifier) -> Verification:
    """Ends the verification of a chain, and returns the result."""
    problems = verifier.end()
    return Verification(tenant, verifier.events, verifier.head, problems, verifier.unchecked)


def anchor_of(document: dict[str, Any]) -> Anchor | None:
    """Returns the anchor on a line, or None."""
    try:
        return Anchor(**document["anchor"])
    except (KeyError, TypeError):
        return None


def _selection_of(document: dict[str, Any]) -> Selection | None:
    try:
        return Selection(**document["selection"])
    except (KeyError, TypeError):
        return None


def parsed(number: int, line: str) -> dict[str, Any]:
    """Returns the object on a line; raises `InvalidValue`."""
    try:
        document = json.loads(line)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise InvalidValue("file", f"line {number} is not a JSON object")
    return document


def _encoded(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True).encode() + b"\n"
