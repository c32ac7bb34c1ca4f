"""Layers of images: folders and files as reproducible tar archives."""

import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

EPOCH_S = 315532800
"""The time of every file: 1980-01-01, since zip files cannot represent earlier times."""


class ArchiveError(Exception):
    """A file is not an OCI archive, or its content cannot be put into one."""


@dataclass(frozen=True)
class Layer:
    """A folder's content, or one file, at the path `at` in the image.

    `owner` is the uid and gid of every entry; None keeps those of the file system. `mode` is the permission bits
    of every plain file; None keeps them.
    """

    source: Path
    at: str = "/"
    owner: tuple[int, int] | None = (0, 0)
    mode: int | None = None


def pack(layer: Layer, out: Path) -> None:
    """Writes a layer as an uncompressed tar with sorted entries, fixed times and no names of users or groups.

    Devices and sockets are omitted (the runtime provides a container's /dev), and so are extended attributes.

    Raises:
        ArchiveError: the source does not exist.
    """
    if not layer.source.exists():
        raise ArchiveError(f"{layer.source} does not exist")
    links: dict[tuple[int, int], str] = {}
    at = PurePosixPath(layer.at.strip("/"))
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for parent in reversed([at, *at.parents] if layer.source.is_dir() else list(at.parents)):
            if parent.name:
                add_entry(tar, _directory(str(parent), layer))
        for file, name in _entries(layer.source, at):
            entry = _describe(file, name, layer, links)
            if entry is None:
                continue
            if entry.isreg():
                with file.open("rb") as content:
                    add_entry(tar, entry, content)
            else:
                add_entry(tar, entry)


def _entries(source: Path, at: PurePosixPath) -> Iterator[tuple[Path, str]]:
    """Yields every file and its name in the image, folders before their content."""
    if not source.is_dir():
        yield source, str(at)
        return
    for path in sorted(source.rglob("*"), key=lambda p: p.relative_to(source).parts):
        yield path, str(at / path.relative_to(source))


def _describe(file: Path, name: str, layer: Layer, links: dict[tuple[int, int], str]) -> tarfile.TarInfo | None:
    status = file.lstat()
    entry = tarfile.TarInfo(name)
    entry.mode = stat.S_IMODE(status.st_mode)
    entry.uid, entry.gid = layer.owner or (status.st_uid, status.st_gid)
    if stat.S_ISLNK(status.st_mode):
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, str(file.readlink()), 0o777
    elif stat.S_ISDIR(status.st_mode):
        entry.type = tarfile.DIRTYPE
    elif stat.S_ISREG(status.st_mode):
        entry.mode = entry.mode if layer.mode is None else layer.mode
        first = links.setdefault((status.st_dev, status.st_ino), name) if status.st_nlink > 1 else name
        if first != name:
            entry.type, entry.linkname = tarfile.LNKTYPE, first
        else:
            entry.size = status.st_size
    else:
        return None
    return entry


def _directory(name: str, layer: Layer) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    entry.uid, entry.gid = layer.owner or (0, 0)
    return entry


def add_entry(tar: tarfile.TarFile, entry: tarfile.TarInfo, content: IO[bytes] | None = None) -> None:
    """Adds an entry with the time of every file."""
    entry.mtime = EPOCH_S
    tar.addfile(entry, content)
