"""Files in a bucket of a real S3 service, and what is said when it fails."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serving.config import Store
from serving.security.principal import Principal
from serving.store import data
from serving.store.blobs import Blobs
from serving.store.errors import InvalidValue, NotFound, StoreUnavailable
from serving.store.files import Files
from serving.store.ids import new_id
from tests.servers import S3


@pytest.fixture
def blobs(s3_store: Store) -> Blobs:
    return Blobs(data.place(s3_store, data.FILES))


def left(store: Store) -> list[str]:
    return sorted(name for name, _ in data.place(store, data.FILES).names())


@pytest.mark.parametrize("size", [0, 1, 3_000_000, 20_000_000])
async def test_round_trip(blobs: Blobs, s3_store: Store, alice: Principal, size: int) -> None:
    content = os.urandom(size)
    blob = await blobs.write(alice, "file-a", io.BytesIO(content), max_bytes=size)
    assert (blob.bytes, blob.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert await blobs.read(alice, "file-a") == content
    assert b"".join([chunk async for chunk in await blobs.open(alice, "file-a")]) == content
    assert left(s3_store) == ["acme/file-a"]
    await blobs.delete(alice, "file-a")
    await blobs.delete(alice, "file-a")
    assert left(s3_store) == []


async def test_other_tenants_find_nothing(blobs: Blobs, alice: Principal, mallory: Principal) -> None:
    await blobs.write(alice, "file-a", io.BytesIO(b"x"), max_bytes=1)
    with pytest.raises(NotFound):
        await blobs.read(mallory, "file-a")
    with pytest.raises(NotFound):
        await blobs.open(mallory, "file-a")
    await blobs.delete(mallory, "file-a")
    assert await blobs.read(alice, "file-a") == b"x"


async def test_stacks_share_a_bucket(s3: S3, alice: Principal) -> None:
    one, two = (Blobs(data.place(s3.store(), data.FILES)) for _ in range(2))
    await one.write(alice, "file-a", io.BytesIO(b"x"), max_bytes=1)
    with pytest.raises(NotFound):
        await two.read(alice, "file-a")


async def test_broken_uploads_leave_nothing(blobs: Blobs, s3_store: Store, alice: Principal) -> None:
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
    assert left(s3_store) == []


async def test_sweep(blobs: Blobs, s3_store: Store, files: Files, alice: Principal, add_file) -> None:
    kept, orphan = await add_file(alice), new_id("file")
    for id in (kept, orphan):
        await blobs.write(alice, id, io.BytesIO(b"abc"), max_bytes=10)
    assert await blobs.sweep(files.existing, older_than_s=60) == 0
    assert await blobs.sweep(files.existing, older_than_s=-60) == 1
    assert left(s3_store) == [f"acme/{kept}"]


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
        with pytest.raises(StoreUnavailable, match=rf"s3://.*cannot be used: .*{reason}"):
            await call


async def test_bucket_that_is_not_there(s3: S3) -> None:
    await fails(s3.store(data="s3://no-such-bucket/a"), "the bucket does not exist")


async def test_wrong_credentials(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    await fails(s3.store(), "the credentials were refused|access was denied")


async def test_credentials_in_a_file(s3_by_file: S3, alice: Principal) -> None:
    blobs = Blobs(data.place(s3_by_file.store(), data.FILES))
    await blobs.write(alice, "file-a", io.BytesIO(b"x"), max_bytes=1)
    assert await blobs.read(alice, "file-a") == b"x"


async def test_endpoint_that_is_down(s3: S3) -> None:
    await fails(s3.store(s3_endpoint="http://127.0.0.1:1"), "it cannot be reached")


async def test_service_that_comes_back(s3: S3, alice: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = Blobs(data.place(s3.store(), data.FILES))
    await blobs.write(alice, "file-a", io.BytesIO(b"x"), max_bytes=1)
    s3.kill()
    try:
        with pytest.raises(StoreUnavailable):
            await blobs.read(alice, "file-a")
    finally:
        s3.start()
    for name, value in s3.environment.items():  # new keys, which are taken up without a restart
        monkeypatch.setenv(name, value)
    with pytest.raises(NotFound):  # the service is empty, but it answers
        await blobs.read(alice, "file-a")
    await blobs.write(alice, "file-a", io.BytesIO(b"y"), max_bytes=1)
    assert await blobs.read(alice, "file-a") == b"y"


@pytest.mark.parametrize("endpoint", ["http://host:9000", "https://minio.example.com/"])
def test_options_for_collections(endpoint: str, tmp_path: Path) -> None:
    store = Store(database="sqlite:////x", data="s3://bucket/prefix/", s3_endpoint=endpoint)
    uri, options = data.collections(store)
    assert uri == "s3://bucket/prefix/collections"
    assert options["aws_endpoint"] == endpoint.rstrip("/")
    assert ("allow_http" in options) == endpoint.startswith("http:")
    assert data.collections(Store(database="sqlite:////x", data="/data")) == ("/data/collections", {})
