"""Built files of the page. Their names contain a hash of their content, so a name always means the same bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parent / "assets"
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}

Encoding = Literal["br", "gzip", "identity"]

PageName = Literal["chat", "console", "reference"]
"""Each page has a document of its own, so that neither loads what only the other needs."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file, compressed when it was built."""

    media_type: str
    bodies: Mapping[Encoding, bytes]

    def body(self, accepted: str) -> tuple[Encoding, bytes]:
        """Returns the smallest form that a request with this `accept-encoding` takes."""
        offers = [offer.replace(" ", "").partition(";") for offer in accepted.lower().split(",")]
        taken = {name for name, _, weight in offers if not re.fullmatch(r"q=0(\.0*)?", weight)}
        encoding: Encoding = "br" if "br" in taken else "gzip" if "gzip" in taken else "identity"
        return encoding, self.bodies[encoding]


@dataclass(frozen=True, slots=True)
class Entries:
    """Names of the files that a browser loads first for a page."""

    script: str
    style: str


@cache
def assets() -> Mapping[str, Asset]:
    """Returns all files by their names."""
    return {path.name: _asset(path) for path in sorted(FOLDER.iterdir()) if path.suffix in TYPES}


@cache
def entries(page: PageName = "chat") -> Entries:
    """Returns the files that a page loads first."""
    return Entries(**json.loads((FOLDER / "entries.json").read_text())[page])


def _asset(path: Path) -> Asset:
    brotli, gzip = (path.with_name(path.name + suffix).read_bytes() for suffix in (".br", ".gz"))
    return Asset(TYPES[path.suffix], {"br": brotli, "gzip": gzip, "identity": path.read_bytes()})
