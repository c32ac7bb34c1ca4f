"""The audit log's hash chain: each event has a keyed hash of itself and of the previous event.

An event's hash is HMAC-SHA256 over its canonical JSON (RFC 8785's for the values in events: sorted names, no white
space, only whole numbers). Without the key, nobody can change, insert, move or delete events and adjust what follows.
The end of a chain can be truncated without it; anchors, which record the length of a chain, must therefore be stored
where the database's owner cannot write. Each event names its key, so that a chain continues after a rotation of keys,
and gateways with two keys may write to it concurrently.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

Event = Mapping[str, Any]

GENESIS = "0" * 64
"""The hash before the first event."""

PRUNED = "audit.prune"
"""Action of the event that records the removal of old events up to its detail `through`."""

FIELDS = (
    "tenant",
    "seq",
    "at",
    "actor",
    "key_id",
    "action",
    "target",
    "subject",
    "outcome",
    "request_id",
    "detail",
    "previous",
    "signed_with",
    "hash",
)
MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem at one place of a chain; `seq` is the number of the event there."""

    tenant: str
    seq: int
    message: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """The length of a chain at unix time `at` (milliseconds); `mac` is made with the key of id `signed_with`."""

    tenant: str
    seq: int
    hash: str
    at: int
    signed_with: str
    mac: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The end of an export of some events of a chain: their number, and a digest of their hashes in order.

    `filter` says which events were selected, up to the chain's last one then; the rest is as in `Anchor`.
    """

    tenant: str
    filter: dict[str, Any]
    events: int
    digest: str
    at: int
    signed_with: str
    mac: str


class Digest:
    """Of the hashes of events, one after the other."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.events = 0

    def add(self, hash: str) -> None:
        """Adds the hash of the next event."""
        self.events += 1
        self._sha256.update(f"{hash}\n".encode())

    @property
    def value(self) -> str:
        return self._sha256.hexdigest()


def chain_key(secret: str) -> bytes:
    """Returns the key of a stack's chains, derived from the secret for this purpose only."""
    return hmac.digest(secret.encode(), b"headrace audit 1", "sha256")


def key_id(key: bytes) -> str:
    """Returns a key's id in the events that it hashed: 8 hexadecimal digits, which reveal nothing about it."""
    return hashlib.sha256(key).hexdigest()[:8]


def event_hash(key: bytes, event: Event) -> str:
    """Returns the value of an event's field `hash`."""
    return _mac(key, "event", {name: event[name] for name in FIELDS if name != "hash"})


def anchor(key: bytes, tenant: str, seq: int, hash: str, at: int) -> Anchor:
    """Returns a signed anchor: an event's hash is not one, or any event could be presented as the end."""
    return Anchor(tenant, seq, hash, at, key_id(key), _mac(key, "anchor", [tenant, seq, hash, at]))


def genuine(key: bytes, given: Anchor) -> bool:
    """Returns whether an anchor was made with the key."""
    made = anchor(key, given.tenant, given.seq, given.hash, given.at)
    return given.signed_with == made.signed_with and hmac.compare_digest(made.mac.encode(), given.mac.encode())


def selection(key: bytes, tenant: str, filter: Mapping[str, Any], digest: Digest, at: int) -> Selection:
    """Returns the signed end of an export of some events."""
    signed = [tenant, dict(filter), digest.events, digest.value, at]
    return Selection(tenant, dict(filter), digest.events, digest.value, at, key_id(key), _mac(key, "selection", signed))


def genuine_selection(key: bytes, given: Selection) -> bool:
    """Returns whether a selection was signed with the key."""
    signed = [given.tenant, given.filter, given.events, given.digest, given.at]
    made = _mac(key, "selection", signed).encode()
    return given.signed_with == key_id(key) and hmac.compare_digest(made, given.mac.encode())


class Verifier:
    """Verifies one chain from its beginning, event by event.

    `keys` are those that it was written with. Events of other keys are counted in `unchecked`, since without the key
    nobody can tell whether they were changed.
    """

    def __init__(self, keys: Iterable[bytes], tenant: str, anchors: Iterable[Anchor] = ()) -> None:
        self._keys = {key_id(key): key for key in keys}
        self._tenant = tenant
        self._anchors = {(a.seq, a.hash): a for a in anchors if a.tenant == tenant}
        self._before: tuple[int, str] | None = None
        self._begins_at: tuple[int, str] = (1, GENESIS)
        self._pruned: set[tuple[int, str]] = set()
        self.problems: list[Problem] = []
        self.events = 0
        self.unchecked = 0

    @property
    def head(self) -> tuple[int, str]:
        """Number and hash of the last event read; 0 and `GENESIS` before the first."""
        return self._before or (0, GENESIS)

    def read(self, event: Event) -> None:
        """Verifies the next event."""
        self.events += 1
        seq, previous, hash = event.get("seq"), event.get("previous"), event.get("hash")
        signed_with = event.get("signed_with")
        if set(event) != set(FIELDS) or not isinstance(seq, int):
            self._note(self.head[0] + 1, "is not an event")
            return
        if not isinstance(hash, str) or not isinstance(signed_with, str):
            self._note(self.head[0] + 1, "is not an event")
            return
        if event["tenant"] != self._tenant:
            self._note(seq, "belongs to another chain")
        key = self._keys.get(signed_with)
        if key is None:
            self.unchecked += 1
        elif not hmac.compare_digest(_hash(key, event), hash.encode()):
            self._note(seq, "was changed: its hash does not match")
        self._follow(seq, str(previous))
        detail = event["detail"]
        if event["action"] == PRUNED and isinstance(detail, Mapping) and isinstance(detail.get("through"), int):
            self._pruned.add((detail["through"] + 1, str(detail.get("hash"))))
        self._before = (seq, hash)
        self._anchors.pop(self._before, None)

    def _follow(self, seq: int, previous: str) -> None:
        """Checks the place of an event after the one before."""
        if self._before is None:
            self._begins_at = (seq, previous)
        elif seq != self._before[0] + 1:
            self._note(seq, f"follows event {self._before[0]}: events are missing, repeated or reordered")
        elif previous != self._before[1]:
            self._note(seq, "does not follow the event before it")

    def read_all(self, events: Iterable[Event]) -> None:
        """Verifies the next events, one after the other."""
        for event in events:
            self.read(event)

    def end(self) -> list[Problem]:
        """Ends the verification. Returns the problems, in the order in which they were found."""
        first = self._begins_at[0]
        if self._begins_at not in ({(1, GENESIS)} | self._pruned):
            self._note(first, "is the first: events before it are missing, and no event records their removal")
        for missing in self._anchors.values():
            key = self._keys.get(missing.signed_with)
            if key is None:
                self.unchecked += 1
            elif not genuine(key, missing):
                self._note(missing.seq, "has an anchor that was not made with its key")
            elif missing.seq >= first or self.events == 0:
                self._note(missing.seq, "was the end according to an anchor: it is missing or was replaced")
        return self.problems

    def _note(self, seq: int, message: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(self._tenant, seq, message))


class SelectionVerifier(Verifier):
    """Verifies an export of some events of a chain: that each is unchanged, and that these were the selected ones."""

    def __init__(self, keys: Iterable[bytes], tenant: str, filter: Mapping[str, Any]) -> None:
        super().__init__(keys, tenant)
        self._filter = filter
        self._digest = Digest()

    def read(self, event: Event) -> None:
        """Verifies the next event."""
        super().read(event)
        self._digest.add(str(event.get("hash")))

    def _follow(self, seq: int, previous: str) -> None:
        if self._before is not None and seq <= self._before[0]:
            self._note(seq, f"follows event {self._before[0]}: events are repeated or reordered")

    def close(self, given: Selection) -> None:
        """Verifies the last line of the export."""
        key = self._keys.get(given.signed_with)
        if key is None:
            self.unchecked += 1
        elif not genuine_selection(key, given):
            self._note(self.head[0], "is followed by an end that was not made with its key")
        if (given.events, given.digest, given.filter) != (self._digest.events, self._digest.value, self._filter):
            self._note(self.head[0], "is not the last of the selected events: some are missing or were added")

    def end(self) -> list[Problem]:
        """Returns the problems, in the order in which they were found."""
        return self.problems


def as_document(value: Anchor | Problem | Selection) -> dict[str, Any]:
    """Returns the value's representation in JSON."""
    return asdict(value)


def _hash(key: bytes, event: Event) -> bytes:
    try:
        return event_hash(key, event).encode()
    except (TypeError, ValueError):
        return b""  # values that JSON cannot represent were never written


def _mac(key: bytes, purpose: str, value: Any) -> str:
    text = json.dumps([purpose, value], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hmac.digest(key, text.encode(), "sha256").hex()
