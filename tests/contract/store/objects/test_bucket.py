"""Files in a bucket of each kind of object store, and what is said when it fails."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from collections.abc import AsyncIterator

import pytest

from serving.config import Store
from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.store.errors import InvalidValue, NotFound, StoreUnavailable
from serving.store.files import Files
from serving.store.objects import bucket, data
from serving.store.objects.blobs import Blobs
from tests.servers.object_stores import ObjectStore


@pytest.fixture
def store(object_store: ObjectStore) -> Store:
    return object_store.store()


@pytest.fixture
def blobs(store: Store) -> Blobs:
    return Blobs(data.place(store, data.FILES))


def left(store: Store) -> list[str]:
    return sorted(name for name, _ in data.place(store, data.FILES).names())


@pytest.mark.parametrize("size", [0, 1, 3_000_000, 20_000_000])
async def test_content_is_read_as_written_and_deleted(blobs: Blobs, store: Store, alice: Principal, size: int) -> None:
    content = os.urandom(size)
    blob = await blobs.write(alice, "file-a", io.BytesIO(content), max_bytes=size)
    assert (blob.bytes, blob.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert await blobs.read(alice, "file-a") == content
    assert b"".join([chunk async for chunk in await blobs.open(alice, "file-a")]) == content
    assert left(store) == ["acme/file-a"]
    await blobs.delete(alice, "file-a")
    await blobs.delete(alice, "file-a")
    assert left(store) == []


async def test_other_tenants_find_nothing(blobs: Blobs, alice: Principal, mallory: Principal) -> None:
    await blobs.write(alice, "file-a", io.BytesIO(b"x"), max_bytes=1)
    with pytest.raises(NotFound):
        await blobs.read(mallory, "file-a")
    with pytest.raises(NotFound):
        await blobs.open(mallory, "file-a")
    await blobs.delete(mallory, "file-a")
    assert await blobs.read(alice, "file-a") == b"x"


async def test_stacks_share_a_bucket(object_store: ObjectStore, alice: Principal) -> None:
    one, two = (Blobs(data.place(object_store.store(), data.FILES)) for _ in range(2))
    await one.write(alice, "file-a", io.BytesIO(b"x"), max_bytes=1)
    with pytest.raises(NotFound):
        await two.read(alice, "file-a")


async def test_broken_uploads_leave_nothing(blobs: Blobs, store: Store, alice: Principal) -> None:
    started = asyncio.Event()

    async def broken() -> AsyncIterator[bytes]:
        yield bytes(12_000_000)
        raise ConnectionResetError

    async def endless() -> AsyncIterator[bytes]:
        yield b"abc"
        started.set()
        await asyncio.Event().wait()

    with pytest.raises(InvalidValue):
        await blobs.write(alice, "file-a", io.BytesIO(bytes(11)), max_bytes=10)
    with pytest.raises(ConnectionResetError):
        await blobs.write(alice, "file-b", broken(), max_bytes=20_000_000)
    task = asyncio.create_task(blobs.write(alice, "file-c", endless(), max_bytes=10))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left(store) == []


async def test_a_sweep_deletes_old_orphans_only(
    blobs: Blobs, store: Store, files: Files, alice: Principal, add_file
) -> None:
    kept, orphan = await add_file(alice), new_id("file")
    for id in (kept, orphan):
        await blobs.write(alice, id, io.BytesIO(b"abc"), max_bytes=10)
    assert await blobs.sweep(files.existing, older_than_s=60) == 0
    assert await blobs.sweep(files.existing, older_than_s=-60) == 1
    assert left(store) == [f"acme/{kept}"]


async def fails(store: Store, reason: str) -> None:
    """Every call says what is wrong, by the one typed error."""
    blobs, alice = Blobs(data.place(store, data.FILES)), Principal("acme", "alice", "k")

    async def none(tenant: str, ids: object) -> set[str]:
        return set()

    for call in (
        blobs.write(alice, "file-a", io.BytesIO(b"x"), max_bytes=1),
        blobs.read(alice, "file-a"),
        blobs.open(alice, "file-a"),
        blobs.delete(alice, "file-a"),
        blobs.sweep(none),
    ):
        with pytest.raises(StoreUnavailable, match=rf"(s3|gs|az)://.*cannot be used: .*{reason}"):
            await call


async def test_a_missing_bucket_is_an_error(object_store: ObjectStore) -> None:
    await fails(object_store.store(data=object_store.missing), "the bucket does not exist")


async def test_wrong_credentials_are_reported(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await fails(object_store.refused(monkeypatch), "the credentials were refused|access was denied")


@pytest.mark.full
async def test_endpoint_that_is_down(object_store: ObjectStore) -> None:
    await fails(object_store.store(endpoint="http://127.0.0.1:1"), "it cannot be reached")


async def test_requests_recover_after_an_outage(
    object_store: ObjectStore, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = Blobs(data.place(object_store.store(), data.FILES))
    await blobs.write(alice, "file-a", io.BytesIO(b"x"), max_bytes=1)
    object_store.kill()
    try:
        with pytest.raises(StoreUnavailable):
            await blobs.read(alice, "file-a")
    finally:
        object_store.start()
    for name, value in object_store.environment.items():  # S3's keys are new, and are taken up without a restart
        monkeypatch.setenv(name, value)
    with pytest.raises(NotFound):  # the service is empty, but it answers
        await blobs.read(alice, "file-a")
    await blobs.write(alice, "file-a", io.BytesIO(b"y"), max_bytes=1)
    assert await blobs.read(alice, "file-a") == b"y"


@pytest.mark.parametrize(
    ("where", "endpoint", "uri", "options"),
    [
        ("gs://bucket/prefix/", None, "gs://bucket/prefix/collections", {}),
        (
            "gs://bucket",
            "http://127.0.0.1:4443/",
            "gs://bucket/collections",
            {"google_base_url": "http://127.0.0.1:4443", "allow_http": "true"},
        ),
        (
            "az://account/container/prefix",
            None,
            "az://container/prefix/collections",
            {"azure_storage_account_name": "account"},
        ),
        (
            "az://account/container",
            "https://account.blob.core.chinacloudapi.cn",
            "az://container/collections",
            {
                "azure_storage_account_name": "account",
                "azure_storage_endpoint": "https://account.blob.core.chinacloudapi.cn",
            },
        ),
        (
            "az://account/container",
            "https://azurite:10000",
            "az://container/collections",
            {"azure_storage_account_name": "account", "azure_storage_endpoint": "https://azurite:10000/account"},
        ),
    ],
)
def test_collections_get_the_options_of_their_bucket(
    where: str, endpoint: str | None, uri: str, options: dict[str, str]
) -> None:
    store = Store(database="sqlite:////x", data=where, endpoint=endpoint)
    assert data.collections(store) == (uri, options)


@pytest.mark.parametrize(
    "where", ["az://container", "az://", "gs:///a", "ftp://a/b", "s3://key@bucket/a", "gs://b?x=1"]
)
def test_invalid_bucket_uris_are_rejected(where: str) -> None:
    with pytest.raises(ValueError, match="data"):
        Store(database="sqlite:////x", data=where)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('Generic { store: "GCS", source: TokenRequest { status: 403, Forbidden } }', "check GOOGLE_APPLICATION"),
        ("Generic MicrosoftAzure error: Error performing token request: 400 Bad Request", "AZURE_STORAGE_ACCOUNT_KEY"),
        ("The operation lacked valid authentication credentials for path x: 401 Unauthorized", "refused"),
        ("The operation lacked the necessary privileges to complete for path x: 403 Forbidden", "access was denied"),
        ('Generic { store: "MicrosoftAzure", source: "in 301.5ms" }', "in 301.5ms"),
    ],
)
def test_errors_are_translated(text: str, reason: str) -> None:
    assert reason in (bucket.explain(RuntimeError(text)) or "")


def test_other_errors_are_no_buckets() -> None:
    assert bucket.explain(ValueError("Table 'zz' was not found: 403 Forbidden")) is None
