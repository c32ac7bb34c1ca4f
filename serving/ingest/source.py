"""What a collection can be synchronised with: the interface of folders, buckets and other sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from serving.retrieval.parsers import folder_extensions

SHOWN = 5
"""Number of paths that a message names."""


@dataclass(frozen=True)
class Inventory:
    """The documents of a source.

    `versions` maps the path of each document to its version, an opaque text that changes with the content. `failed`
    maps paths to the reasons why these documents could not be looked at: what the collection has of them stays. `cut`
    is why the listing is not complete; nothing is removed then.
    """

    versions: Mapping[str, str]
    failed: Mapping[str, str] = field(default_factory=dict)
    cut: str = ""


class DocumentSource(Protocol):
    """Documents by path. A failure of the source itself is an `IngestError`."""

    def listing(self, known: Mapping[str, str], /) -> Inventory:
        """Lists the documents; `known` are the versions that the collection has, by path."""

    def read(self, path: str, version: str, /) -> bytes:
        """Returns the content of a listed document. Raises `IngestRefused` if this document cannot be read."""


def is_document(path: str) -> bool:
    """Returns whether a document is collected; one that is named explicitly always is."""
    return PurePosixPath(path).suffix.lower() in folder_extensions()


def report_skipped(paths: Iterable[str], say: Callable[[str], None]) -> None:
    """Reports the paths that are no documents; the first few by name."""
    if left_out := list(paths):
        more = f" and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
        say(f"skipped, empty or of an unsupported kind: {', '.join(left_out[:SHOWN])}{more}")
