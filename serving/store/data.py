"""Where files and collections lie, as a `Store` says: a folder, or a bucket."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from serving.config import Store
from serving.store import bucket
from serving.store.places import Folder, Place

FILES = "files"
COLLECTIONS = "collections"


def place(store: Store, folder: str) -> Place:
    """Returns the place of `FILES` or `COLLECTIONS`."""
    if store.data.startswith("s3://"):
        return bucket.Bucket(store, folder)
    return Folder(Path(store.data) / folder)


def collections(store: Store) -> tuple[str, Mapping[str, str]]:
    """Returns the URI of the collections, and the options that LanceDB needs to reach it."""
    options = bucket.options(store) if store.data.startswith("s3://") else {}
    return f"{store.data}/{COLLECTIONS}", options
