"""The folder of weights that replicas share, on a node or on a volume: locks, complete versions, and room for more.

Each source has a folder in it, and each version of its files one below that, with a manifest. One replica fetches a
source while others wait for the lock of its folder; a lock that every replica holds as long as it lives protects the
version that it serves. The kernel releases both when a process is killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from serving.engines.weights.download import partial
from serving.engines.weights.progress import size
from serving.engines.weights.remote import Listing, RemoteFile, WeightsError

MANIFEST = ".headrace.json"


@dataclass
class StoredWeights:
    """A complete version in the folder, which nobody removes until it is closed."""

    path: Path
    _held: IO[bytes]

    def close(self) -> None:
        self._held.close()


class WeightsVersion:
    """The files of one version, complete or not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._users = path.with_name(path.name + ".users")

    @property
    def listing(self) -> Listing | None:
        """The files that belong to it; None without a readable manifest."""
        try:
            document = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
            return Listing(document["version"], tuple(RemoteFile(**each) for each in document["files"]))
        except (OSError, ValueError, LookupError, TypeError, WeightsError):
            return None

    def record(self, listing: Listing) -> None:
        """Writes the manifest, before any file."""
        self.path.mkdir(parents=True, exist_ok=True)
        new = self.path / f"{MANIFEST}.new"
        new.write_text(json.dumps(asdict(listing)), encoding="utf-8")
        new.replace(self.path / MANIFEST)

    def contains(self, file: RemoteFile) -> bool:
        """Returns whether a file is there and verified: under its name, with its size."""
        with suppress(OSError):
            return (self.path / file.name).stat().st_size == file.size
        return False

    def present(self, listing: Listing) -> int:
        """Returns the number of bytes of a listing that are there, those of partial files included."""
        return sum(file.size if self.contains(file) else self._partial(file) for file in listing.files)

    def _partial(self, file: RemoteFile) -> int:
        with suppress(OSError):
            return min(partial(self.path / file.name).stat().st_size, file.size)
        return 0

    def complete(self) -> bool:
        listing = self.listing
        return listing is not None and all(map(self.contains, listing.files))

    def use(self) -> StoredWeights:
        """Protects it from removal."""
        held = self._users.open("ab")
        fcntl.flock(held, fcntl.LOCK_SH)
        os.utime(self._users)
        return StoredWeights(self.path, held)

    @property
    def last_used(self) -> float:
        with suppress(OSError):
            return self._users.stat().st_mtime
        return 0.0

    def remove(self) -> bool:
        """Removes it unless a replica uses it. The caller holds the lock of its source."""
        with self._users.open("ab") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            shutil.rmtree(self.path, ignore_errors=True)
            self._users.unlink(missing_ok=True)
        return True


class SourceFolder:
    """The versions of one source in the shared folder `root`."""

    def __init__(self, root: Path, source: str) -> None:
        readable = re.sub(r"[^A-Za-z0-9._-]+", "-", source.partition("://")[2])[:80]
        self._root = root
        self._folder = root / f"{readable}-{hashlib.sha256(source.encode()).hexdigest()[:8]}"

    @contextmanager
    def locked(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Holds the source's lock; calls `waiting` first if another replica has it. Raises `WeightsError`."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = (self._folder / "lock").open("ab")
        except OSError as e:
            raise WeightsError(f"the folder of weights {self._root} cannot be used: {e.strerror or e}") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as e:
                problem = f"the volume of {self._root} has no file locks ({e.strerror or e})"
                raise WeightsError(f"{problem}: replicas cannot share it; use another class of volumes") from None
            yield

    def version(self, name: str) -> WeightsVersion:
        return WeightsVersion(self._folder / name[:16])

    def versions(self) -> list[WeightsVersion]:
        """Returns all versions, the one used last first."""
        found = [WeightsVersion(manifest.parent) for manifest in self._folder.glob(f"*/{MANIFEST}")]
        return sorted(found, key=lambda version: version.last_used, reverse=True)

    def carry_over(self, listing: Listing, target: WeightsVersion) -> None:
        """Takes files that have not changed from other versions: complete ones, and what has arrived of others."""
        for other in self.versions():
            if other.path == target.path or (theirs := other.listing) is None:
                continue
            known = {(file.name, file.size, file.version) for file in theirs.files}
            for file in listing.files:
                if (file.name, file.size, file.version) not in known or target.contains(file):
                    continue
                old, new = other.path / file.name, target.path / file.name
                new.parent.mkdir(parents=True, exist_ok=True)
                if other.contains(file):
                    _link(old, new)
                elif partial(old).exists() and not partial(new).exists():
                    partial(old).replace(partial(new))

    def remove_others(self, kept: WeightsVersion) -> None:
        """Removes the versions that no replica uses, but for one."""
        for version in self.versions():
            if version.path != kept.path:
                version.remove()

    def make_room(self, needed: int, kept: WeightsVersion) -> None:
        """Removes weights that no replica uses, the longest unused first, until the disk has room.

        Raises `WeightsError` if it has none then.
        """
        for version in self._unused_longest(kept):
            if self._free() >= needed:
                return
            with suppress(OSError), (version.path.parent / "lock").open("ab") as lock:
                if version.path.parent != self._folder:  # its own is locked already
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                version.remove()
        if (free := self._free()) < needed:
            raise WeightsError(
                f"{size(needed)} are to be fetched, but the disk of {self._root} has only {size(free)} free: "
                "give the pool's weights more room (temporary_storage, or the size of its volume)"
            )

    def _unused_longest(self, kept: WeightsVersion) -> list[WeightsVersion]:
        found = [WeightsVersion(manifest.parent) for manifest in self._root.glob(f"*/*/{MANIFEST}")]
        return sorted((v for v in found if v.path != kept.path), key=lambda version: version.last_used)

    def _free(self) -> int:
        return shutil.disk_usage(self._folder).free


def _link(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except FileExistsError:
        new.unlink()
        os.link(old, new)
    except OSError:  # a volume without links
        shutil.copyfile(old, partial(new))
        partial(new).replace(new)
