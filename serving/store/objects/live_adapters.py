"""The live set of each base model: the adapters that all of its replicas serve, and what each replica says it serves.

Set, reports and contents are in one storage place: `live/<base>.json`, `live/<base>/<replica>.json` and
`<version>/<artefact>`. Replicas have no access to the database. Every method blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, BinaryIO

from pydantic import TypeAdapter, ValidationError

from serving.core.ids import now
from serving.store.errors import StoreUnavailable
from serving.store.objects.places import TEMPORARY, Place

REPORT_S = 10.0
"""Interval in seconds of a replica's reports."""
STALE_S = 3 * REPORT_S
"""Age in seconds of a report whose replica counts as gone."""
FORGOTTEN_S = 3600.0
"""Age in seconds of a report that is removed."""


@dataclass(frozen=True, slots=True)
class AdapterFile:
    """A file of a version: `bytes` is its size, `sha256` hexadecimal."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LiveAdapter:
    """An adapter that replicas serve under `name`, which no other version ever has; `tenants` may call it."""

    name: str
    version: str
    artefacts: tuple[AdapterFile, ...]
    rank: int
    tenants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LiveSet:
    """The adapters of one base model; `revision` grows with each change."""

    revision: int = 0
    adapters: tuple[LiveAdapter, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What a replica serves of the set with `revision`, and why it does not serve others; `at` is a unix time.

    `leaving` are adapters that get no new requests but still answer some.
    """

    replica: str
    revision: int
    loaded: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    at: float = 0


_SET = TypeAdapter(LiveSet)
_REPORT = TypeAdapter(Report)


class LiveSets:
    """The live sets in a storage place, and what belongs to them. Failures of the place are `StoreUnavailable`."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def read(self, base: str) -> LiveSet:
        """Returns the live set of a base model; an empty one if there has never been any."""
        found: LiveSet | None = self._read(f"live/{base}.json", _SET)
        return found or LiveSet()

    def write(self, base: str, live: LiveSet) -> None:
        """Replaces the live set of a base model: the caller prevents others from doing so at the same time."""
        self._write(f"live/{base}.json", _SET.dump_json(live))

    def open(self, adapter: LiveAdapter, artefact: AdapterFile) -> BinaryIO:
        """Opens a content; raises `FileNotFoundError`."""
        return self._place.open(f"{adapter.version}/{artefact.name}")

    def report(self, base: str, report: Report) -> None:
        """Replaces a replica's report."""
        self._write(f"live/{base}/{report.replica}.json", _REPORT.dump_json(report))

    def withdraw(self, base: str, replica: str) -> None:
        """Removes the report of a replica that ends."""
        self._place.delete(f"live/{base}/{replica}.json")

    def reports(self, base: str) -> list[Report]:
        """Returns the reports of replicas that are alive, and removes those of replicas that have long been gone."""
        found = []
        for name, written in list(self._place.names(f"live/{base}")):
            if written < now() - FORGOTTEN_S:
                self._place.delete(name)
            elif not name.rpartition("/")[2].startswith(TEMPORARY):
                report: Report | None = self._read(name, _REPORT)
                if report is not None and report.at >= now() - STALE_S:
                    found.append(report)
        return found

    def _read(self, name: str, kind: TypeAdapter[Any]) -> Any:
        try:
            with self._place.open(name) as file:
                return kind.validate_json(file.read())
        except FileNotFoundError:
            return None
        except OSError as e:
            raise StoreUnavailable(f"{name} cannot be read: {e.strerror or e}") from e
        except ValidationError as e:
            raise StoreUnavailable(f"{name} is damaged: {e.errors()[0]['msg']}") from None

    def _write(self, name: str, content: bytes) -> None:
        writing = self._place.create(name)
        try:
            writing.append(content)
            writing.publish()
        finally:
            writing.discard()
