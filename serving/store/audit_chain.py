"""The audit log's chain: each event carries a keyed hash of itself and of the event before it.

An event's hash is HMAC-SHA256 over its canonical JSON (RFC 8785's for what events hold: sorted names, no white space,
no number but whole ones). Whoever changes, inserts, moves or deletes events needs the key to make what follows fit.
The end of a chain can be cut without it, so anchors, which say how far a chain had come, belong where the database's
owner cannot write.

Each event names the key that it was hashed with, so a chain goes on through a rotation of keys, and gateways of two
keys may write to it at once.
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
"""What stands before the first event."""

PRUNED = "audit.prune"
"""Action of the event that says that the events up to its detail `through` were removed when their time was over."""

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
    """What is wrong at one place of a chain; `seq` is the number of the event there."""

    tenant: str
    seq: int
    message: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """How far a chain had come at unix time `at` (milliseconds); `mac` is made with the key of id `signed_with`."""

    tenant: str
    seq: int
    hash: str
    at: int
    signed_with: str
    mac: str


def chain_key(secret: str) -> bytes:
    """Returns the key of a stack's chains: what it makes is never taken for something else that the secret makes."""
    return hmac.digest(secret.encode(), b"headrace audit 1", "sha256")


def key_id(key: bytes) -> str:
    """Returns what a key is called in the events that it hashed: 8 hexadecimal digits, which tell nothing of it."""
    return hashlib.sha256(key).hexdigest()[:8]


def event_hash(key: bytes, event: Event) -> str:
    """Returns the hash of an event, which its field `hash` is to be."""
    return _mac(key, "event", {name: event[name] for name in FIELDS if name != "hash"})


def anchor(key: bytes, tenant: str, seq: int, hash: str, at: int) -> Anchor:
    """Returns a signed anchor: an event's own hash is none, or any event would do as the end."""
    return Anchor(tenant, seq, hash, at, key_id(key), _mac(key, "anchor", [tenant, seq, hash, at]))


def genuine(key: bytes, given: Anchor) -> bool:
    """Whether an anchor was made with the key."""
    made = anchor(key, given.tenant, given.seq, given.hash, given.at)
    return given.signed_with == made.signed_with and hmac.compare_digest(made.mac.encode(), given.mac.encode())


class Verifier:
    """Reads one chain from its beginning, event by event, and notes what is wrong with it.

    `keys` are those that it was written with. What names another one is counted in `unchecked`: nobody can tell
    without that key whether it was changed.
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
        """Takes in the next event."""
        self.events += 1
        seq, previous, hash = event.get("seq"), event.get("previous"), event.get("hash")
        signed_with = event.get("signed_with")
        if set(event) != set(FIELDS) or not isinstance(seq, int):
            self._note(self.head[0] + 1, "is no event")
            return
        if not isinstance(hash, str) or not isinstance(signed_with, str):
            self._note(self.head[0] + 1, "is no event")
            return
        if event["tenant"] != self._tenant:
            self._note(seq, "belongs to another chain")
        key = self._keys.get(signed_with)
        if key is None:
            self.unchecked += 1
        elif not hmac.compare_digest(_hash(key, event), hash.encode()):
            self._note(seq, "was changed: its hash is another")
        if self._before is None:
            self._begins_at = (seq, str(previous))
        elif seq != self._before[0] + 1:
            self._note(seq, f"follows event {self._before[0]}: events are missing, repeated or in another order")
        elif previous != self._before[1]:
            self._note(seq, "does not follow the event before it")
        detail = event["detail"]
        if event["action"] == PRUNED and isinstance(detail, Mapping) and isinstance(detail.get("through"), int):
            self._pruned.add((detail["through"] + 1, str(detail.get("hash"))))
        self._before = (seq, hash)
        self._anchors.pop(self._before, None)

    def read_all(self, events: Iterable[Event]) -> None:
        """Takes in the next events, one after the other."""
        for event in events:
            self.read(event)

    def end(self) -> list[Problem]:
        """Says that there are no more events. Returns what is wrong, in the order in which it was found."""
        first = self._begins_at[0]
        if self._begins_at not in ({(1, GENESIS)} | self._pruned):
            self._note(first, "is the first: events before it are missing, and no event says that they were pruned")
        for missing in self._anchors.values():
            key = self._keys.get(missing.signed_with)
            if key is None:
                self.unchecked += 1
            elif not genuine(key, missing):
                self._note(missing.seq, "has an anchor that its key did not make")
            elif missing.seq >= first or self.events == 0:
                self._note(missing.seq, "was the end once, as an anchor says: it is missing or was replaced")
        return self.problems

    def _note(self, seq: int, message: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(self._tenant, seq, message))


def as_document(value: Anchor | Problem) -> dict[str, Any]:
    """Returns what stands for it in JSON."""
    return asdict(value)


def _hash(key: bytes, event: Event) -> bytes:
    try:
        return event_hash(key, event).encode()
    except (TypeError, ValueError):
        return b""  # what JSON has no words for is nothing that was written


def _mac(key: bytes, purpose: str, value: Any) -> str:
    text = json.dumps([purpose, value], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hmac.digest(key, text.encode(), "sha256").hex()
