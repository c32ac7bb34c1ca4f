"""Copies of adapters on the node, which engines load. They end with their replica."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from serving.engines.adapters.errors import AdapterRejected
from serving.store.objects.live_adapters import AdapterFile, LiveAdapter, LiveSets

PREFIX = "headrace-adapters-"
_CHUNK = 1 << 20


class LocalFiles:
    """The folder with a replica's adapters, each in a folder with its artefacts called `needed`.

    A lock on the folder marks it as used. The folders of replicas that were killed are removed: an adapter may have
    been deleted since, on behalf of a person in its data.
    """

    def __init__(self, sets: LiveSets, needed: Sequence[str], parent: Path | None = None) -> None:
        self._sets = sets
        self._needed = needed
        parent = parent or Path(tempfile.gettempdir())
        _remove_abandoned(parent)
        self.folder, self._lock = _locked_folder(parent)

    def fetch(self, adapter: LiveAdapter) -> Path:
        """Returns the folder of an adapter, after copying it if it is not there.

        Raises `AdapterRejected` when an artefact is not in the version, is missing, or differs from its checksum, and
        `StoreUnavailable`.
        """
        folder = self.folder / adapter.name
        if folder.is_dir():
            return folder
        artefacts = {artefact.name: artefact for artefact in adapter.artefacts}
        missing = [name for name in self._needed if name not in artefacts]
        if missing:
            raise AdapterRejected(adapter.name, f"version {adapter.version} has no {' and no '.join(missing)}")
        begun = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            for name in self._needed:
                self._copy(adapter, artefacts[name], begun / name)
            begun.rename(folder)
        finally:
            shutil.rmtree(begun, ignore_errors=True)
        return folder

    def _copy(self, adapter: LiveAdapter, artefact: AdapterFile, target: Path) -> None:
        digest = hashlib.sha256()
        try:
            with self._sets.open(adapter, artefact) as source, target.open("wb") as copy:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    copy.write(chunk)
        except FileNotFoundError:
            raise AdapterRejected(adapter.name, f"{artefact.name} of version {adapter.version} is missing") from None
        except OSError as e:
            raise AdapterRejected(adapter.name, f"{artefact.name} cannot be copied: {e.strerror or e}") from e
        if digest.hexdigest() != artefact.sha256:
            raise AdapterRejected(adapter.name, f"{artefact.name} has another SHA-256 than its version says")

    def keep(self, names: Collection[str]) -> None:
        """Removes the adapters that are not called `names`."""
        for folder in self.folder.iterdir():
            if folder.name not in names:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Removes everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def _locked_folder(parent: Path) -> tuple[Path, int]:
    """Returns a new folder, and a descriptor that holds its lock until it is closed."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)  # another replica took it for an abandoned one before it was locked


def _remove_abandoned(parent: Path) -> None:
    """Removes the folders that no process of this user has locked."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # of another user, or removed meanwhile
            lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)
