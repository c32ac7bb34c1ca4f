"""The storage of files, collections and the model hub, by a `Store`: a folder, or a bucket."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from serving.config import Store
from serving.store.objects import bucket
from serving.store.objects.places import Folder, Place

FILES = "files"
COLLECTIONS = "collections"
HUB = "hub"

FOLDERS = (FILES, COLLECTIONS, HUB)
"""What a backup contains."""


def place(store: Store, folder: str) -> Place:
    """Returns the storage place of `FILES`, `COLLECTIONS` or `HUB`."""
    if store.in_bucket:
        return bucket.Bucket(store, folder)
    return Folder(Path(store.data) / folder)


def collections(store: Store) -> tuple[str, Mapping[str, str]]:
    """Returns the URI of the collections, and LanceDB's options for it."""
    if store.in_bucket:
        return f"{bucket.uri(store)}/{COLLECTIONS}", bucket.options(store)
    return f"{store.data}/{COLLECTIONS}", {}
