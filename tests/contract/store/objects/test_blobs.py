from __future__ import annotations

import asyncio
import hashlib
import io
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.store.errors import InvalidValue, NotFound, StoreUnavailable
from serving.store.files import DELETE_BLOB, Files
from serving.store.jobs.queue import Jobs
from serving.store.jobs.worker import Worker
from serving.store.objects.blobs import Blobs, blob_deletion
from serving.store.objects.places import Folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def blobs(root: Path) -> Blobs:
    return Blobs(Folder(root))


def left(root: Path) -> list[str]:
    return sorted(p.name for p in root.rglob("*") if p.is_file())


async def parts(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_content_is_read_as_written(blobs: Blobs, root: Path, alice: Principal) -> None:
    content = os.urandom(3_000_000)
    for id, source in (("file-a", io.BytesIO(content)), ("file-b", parts(content[:5], b"", content[5:]))):
        blob = await blobs.write(alice, id, source, max_bytes=len(content))
        assert (blob.bytes, blob.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert await blobs.read(alice, id) == content
        assert b"".join([chunk async for chunk in await blobs.open(alice, id)]) == content
    assert left(root) == ["file-a", "file-b"]
    await blobs.delete(alice, "file-a")
    await blobs.delete(alice, "file-a")
    assert left(root) == ["file-b"]


async def test_other_tenants_find_nothing(blobs: Blobs, alice: Principal, mallory: Principal) -> None:
    await blobs.write(alice, "file-a", io.BytesIO(b"x"), max_bytes=1)
    with pytest.raises(NotFound):
        await blobs.read(mallory, "file-a")
    with pytest.raises(NotFound):
        await blobs.open(mallory, "file-a")
    await blobs.delete(mallory, "file-a")
    assert await blobs.read(alice, "file-a") == b"x"


@pytest.mark.parametrize("bad", ["", "..", ".", "../x", "a/b", "/etc", "a\0", "\u00e9", "x" * 129, "a\n"])
async def test_names_cannot_climb(blobs: Blobs, alice: Principal, bad: str) -> None:
    with pytest.raises(InvalidValue):
        await blobs.read(alice, bad)
    with pytest.raises(InvalidValue):
        await blobs.read(Principal(tenant=bad, user="u", key_id="k"), "file-a")


async def test_a_too_large_upload_leaves_nothing(blobs: Blobs, root: Path, alice: Principal) -> None:
    with pytest.raises(InvalidValue, match="at most 10 bytes") as e:
        await blobs.write(alice, "file-a", parts(b"12345", b"123456"), max_bytes=10)
    assert e.value.param == "file"
    assert left(root) == []


async def test_an_interrupted_upload_leaves_nothing(blobs: Blobs, root: Path, alice: Principal) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"abc"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await blobs.write(alice, "file-a", broken(), max_bytes=10)
    assert left(root) == []


async def test_cancelled_upload_leaves_nothing(blobs: Blobs, root: Path, alice: Principal) -> None:
    started = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"abc"
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(blobs.write(alice, "file-a", endless(), max_bytes=10))
    await started.wait()
    assert len(left(root)) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left(root) == []


FULL = """
import asyncio, io, resource, signal, sys
from pathlib import Path
from serving.core.principal import Principal
from serving.store.objects.blobs import Blobs
from serving.store.objects.places import Folder
from serving.store.errors import StoreUnavailable
async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    blobs, alice = Blobs(Folder(Path(sys.argv[1]))), Principal("acme", "alice", "k")
    await blobs.write(alice, "file-small", io.BytesIO(bytes(50_000)), max_bytes=10**7)
    try:
        await blobs.write(alice, "file-large", io.BytesIO(bytes(200_000)), max_bytes=10**7)
    except StoreUnavailable:
        print("unavailable")
asyncio.run(main())
"""


def test_full_disk_leaves_nothing(root: Path, spawn) -> None:
    assert spawn(FULL, str(root)).communicate(timeout=300)[0] == "unavailable\n"
    assert left(root) == ["file-small"]


async def test_folder_that_cannot_be_made(tmp_path: Path, alice: Principal) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable):
        await Blobs(Folder(tmp_path / "file")).write(alice, "file-a", io.BytesIO(b"x"), max_bytes=1)


KILLED = """
import asyncio, sys
from pathlib import Path
from serving.core.principal import Principal
from serving.store.objects.blobs import Blobs
from serving.store.objects.places import Folder
async def endless():
    yield b"abc"
    print("started", flush=True)
    await asyncio.Event().wait()
asyncio.run(Blobs(Folder(Path(sys.argv[1]))).write(Principal("acme", "alice", "k"), "file-a", endless(), max_bytes=10))
"""


async def test_sweep_removes_remains_of_crashes(
    blobs: Blobs, root: Path, files: Files, alice: Principal, add_file, spawn
) -> None:
    process = spawn(KILLED, str(root))
    assert process.stdout.readline() == "started\n"
    process.kill()
    process.wait()
    kept, orphan = await add_file(alice), new_id("file")
    for id in (kept, orphan):
        await blobs.write(alice, id, io.BytesIO(b"abc"), max_bytes=10)
    assert len(left(root)) == 3
    assert await blobs.sweep(files.existing, older_than_s=60) == 0  # an upload may still be running
    for path in root.rglob("*"):
        os.utime(path, (time.time() - 100,) * 2)
    assert await blobs.sweep(files.existing, older_than_s=60) == 2
    assert left(root) == [kept]
    assert await Blobs(Folder(root / "nothing")).sweep(files.existing) == 0


async def test_a_job_deletes_the_content_of_a_deleted_file(
    blobs: Blobs, root: Path, jobs: Jobs, files: Files, alice: Principal, add_file
) -> None:
    id = await add_file(alice)
    await blobs.write(alice, id, io.BytesIO(b"abc"), max_bytes=10)
    await files.delete(alice, id)
    worker = Worker(jobs, {DELETE_BLOB: blob_deletion(blobs)}, poll_s=0.01)
    running = asyncio.create_task(worker.run())
    while await jobs.unfinished():
        await asyncio.sleep(0.01)
    worker.stop()
    await running
    assert left(root) == []
