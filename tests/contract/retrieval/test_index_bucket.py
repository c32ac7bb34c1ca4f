"""Indexes in buckets of each provider: the same operations as in a folder, and the errors of a failing bucket."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serving.config import Store
from serving.retrieval.errors import CollectionNotFound
from serving.retrieval.index import CollectionIndex
from serving.retrieval.manifest import CollectionManifest
from serving.retrieval.types import Chunk
from serving.store.errors import StoreUnavailable
from serving.store.objects import data
from tests.servers.object_stores import S3, ObjectStore

MANIFEST = CollectionManifest("test-embedder", 8, 200, 30, "1")


def opened(store: Store, name: str = "vs_1", *, create: bool = True) -> CollectionIndex:
    uri, options = data.collections(store)
    return CollectionIndex.open(uri, name, MANIFEST, create=create, options=options)


def put(index: CollectionIndex, file_id: str, *texts: str) -> None:
    chunks = [Chunk(i, "Title", "Heading", text, i * 10, i * 10 + 5, None) for i, text in enumerate(texts)]
    index.upsert_file("t", file_id, f"{file_id}.md", chunks, np.eye(8, dtype=np.float32)[: len(texts)])


def found(index: CollectionIndex, query: str) -> list[str]:
    return [hit.text for hit in index.search("t", query, np.eye(8, dtype=np.float32)[0], 5)]


def test_an_index_in_a_bucket_is_written_searched_and_removed(object_store: ObjectStore) -> None:
    store = object_store.store()
    index = opened(store)
    put(index, "a", "the heron stands", "the river runs")
    put(index, "b", "the mill turns")
    index.optimize()
    assert found(index, "heron")[0] == "the heron stands"
    other = opened(store, create=False)
    put(index, "a", "the otter swims")
    assert set(found(other, "otter")) == {"the otter swims", "the mill turns"}
    other.delete_file("t", "b")
    assert found(index, "mill") == ["the otter swims"]
    assert index.stats().chunks == 1
    index.drop()
    index.drop()
    with pytest.raises(CollectionNotFound):
        opened(store, create=False)


def test_concurrent_writers_lose_no_commits(object_store: ObjectStore) -> None:
    """The bucket has no locks; it orders concurrent commits by refusing to overwrite a version."""
    store = object_store.store()
    opened(store)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: put(opened(store), f"f{n}", f"text {n}"), range(12)))
    assert opened(store).stats().files == 12


def fails(store: Store, reason: str, create: Collection[bool] = (True, False)) -> None:
    for each in create:
        with pytest.raises(StoreUnavailable, match=f"bucket cannot be used: .*{reason}"):
            opened(store, create=each)


def test_a_missing_bucket_is_reported(object_store: ObjectStore) -> None:
    fails(object_store.store(data=object_store.missing), "does not exist")


def test_wrong_credentials_are_reported(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(object_store.refused(monkeypatch), "credentials were refused|access was denied")


def test_credentials_are_read_from_a_file(s3_by_file: S3) -> None:
    index = opened(s3_by_file.store())
    put(index, "a", "the heron stands")
    assert found(index, "heron") == ["the heron stands"]


def test_an_endpoint_that_is_down_is_reported(object_store: ObjectStore) -> None:
    """Each attempt takes five seconds, so there is only one."""
    fails(object_store.store(endpoint="http://127.0.0.1:1"), "cannot be reached", create=[True])


@pytest.mark.full
def test_a_bucket_that_disappears_is_reported(s3: S3) -> None:
    index = opened(s3.store())
    put(index, "a", "the heron stands")
    s3.kill()
    try:
        for call in (lambda: found(index, "heron"), index.drop):
            with pytest.raises(StoreUnavailable):
                call()
    finally:
        s3.start()
