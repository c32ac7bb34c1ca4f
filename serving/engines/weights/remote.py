"""What weights are fetched from: a listing of files with their versions, and their bytes from any position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol


class WeightsError(RuntimeError):
    """Weights cannot be fetched; the message says why, and what to do."""


class Interrupted(WeightsError):
    """The source does not answer, or not to the end: another attempt may succeed."""


class Changed(WeightsError):
    """A file is gone, or is another than when it was listed."""


@dataclass(frozen=True)
class RemoteFile:
    """A file at the source."""

    name: str
    """Path below the folder of the weights, with `/`."""
    size: int
    version: str
    """Identifies the content: an ETag, or the id of a blob."""
    sha256: str = ""
    """Known SHA-256 in hexadecimal digits; empty if the source has none."""
    git_sha1: str = ""
    """Known id of the content as a blob of Git; empty if the source has none."""

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.name).parts
        if not parts or self.name.startswith("/") or {"..", "."} & set(self.name.split("/")) or "\0" in self.name:
            raise WeightsError(f"the source has a file with the name '{self.name}', which could leave its folder")


@dataclass(frozen=True)
class Listing:
    """The files of one version of the weights."""

    version: str
    """Also the name of a folder."""
    files: tuple[RemoteFile, ...]

    def __post_init__(self) -> None:
        if not (self.version.isascii() and self.version.isalnum()):
            raise WeightsError(f"the source has a version with the name '{self.version}', which could leave its folder")

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


class Remote(Protocol):
    """A source of weights. Every failure is a `WeightsError`, one that may pass is `Interrupted`."""

    source: str
    """The URI of the weights, for messages and for the name of their folder."""
    pinned: str
    """The version if the URI names one that never changes, else empty."""

    def list(self) -> Listing:
        """Returns what is there now; never an empty listing."""

    def read(self, file: RemoteFile, offset: int) -> Iterator[bytes]:
        """Yields the content from a position on, and raises if it is no longer that of `file.version`."""
