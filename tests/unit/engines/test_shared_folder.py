"""Weights in the shared folder: fetched once, gone on with, verified, and removed only where nobody uses them."""

from __future__ import annotations

import errno
import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.engines.weights import download, progress
from serving.engines.weights.bucket import BucketFolder
from serving.engines.weights.fetch import fetch, shared_folder
from serving.engines.weights.hub import selected
from serving.engines.weights.progress import FetchProgress, size
from serving.engines.weights.remote import Interrupted, Listing, RemoteFile, WeightsError
from tests.replace import replace

CONTENT = {"config.json": b"{}", "sub/model.safetensors": bytes(range(256)) * 40, "empty.txt": b""}


class Memory:
    """A source whose files are in memory, in pieces of 1000 bytes; `before` is called before each."""

    pinned = ""

    def __init__(self, content: dict[str, bytes] = CONTENT, source: str = "s3://bucket/llama") -> None:
        self.source = source
        self.content = dict(content)
        self.hashes: dict[str, str] = {}
        self.down = False
        self.served = 0
        self.before: Callable[[str, int], None] = lambda name, at: None

    def list(self) -> Listing:
        if self.down:
            raise Interrupted(f"{self.source} is down")
        files = tuple(
            RemoteFile(name, len(text), hashlib.md5(text).hexdigest(), sha256=self.hashes.get(name, ""))
            for name, text in self.content.items()
        )
        return Listing(hashlib.md5(repr(files).encode()).hexdigest(), files)

    def read(self, file: RemoteFile, offset: int) -> Iterator[bytes]:
        for at in range(offset, file.size, 1000):
            self.before(file.name, at)
            piece = self.content[file.name][at : at + 1000]
            self.served += len(piece)
            yield piece


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pauses, and one file after the other, so that it is known what has arrived."""
    monkeypatch.setattr(download, "PAUSES_S", (0, 0))
    monkeypatch.setattr("serving.engines.weights.fetch.AT_ONCE", 1)


@pytest.fixture
def origin() -> Memory:
    return Memory()


def stored(folder: Path) -> dict[str, bytes]:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".headrace")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def get(origin: Memory, root: Path, **settings: str) -> Path:
    weights = fetch(origin, root, FetchProgress("llama"), **settings)
    weights.close()
    return weights.path


def fails(origin: Memory, root: Path, message: str, **settings: str) -> None:
    with pytest.raises(WeightsError, match=message):
        get(origin, root, **settings)


def test_weights_are_fetched_once(origin: Memory, tmp_path: Path) -> None:
    first = get(origin, tmp_path)
    assert stored(first) == dict(sorted(CONTENT.items()))
    assert origin.served == sum(map(len, CONTENT.values()))
    assert get(origin, tmp_path) == first
    assert origin.served == sum(map(len, CONTENT.values()))


def test_an_interrupted_file_is_continued(origin: Memory, tmp_path: Path) -> None:
    left = [3, 6]

    def cut(name: str, at: int) -> None:
        if left and at == left[0] * 1000:
            left.pop(0)
            raise Interrupted("cut")

    origin.before = cut
    assert stored(get(origin, tmp_path)) == dict(sorted(CONTENT.items()))
    assert not left
    assert origin.served == sum(map(len, CONTENT.values()))


def test_an_abandoned_fetch_keeps_what_has_arrived(origin: Memory, tmp_path: Path) -> None:
    def cut(name: str, at: int) -> None:
        if at >= 4000:
            raise Interrupted(f"{name} is cut")

    origin.before = cut
    fails(origin, tmp_path, "cut; given up after 3 attempts, what has arrived is kept")
    origin.before, origin.served = lambda name, at: None, 0
    get(origin, tmp_path)
    assert origin.served == len(CONTENT["sub/model.safetensors"]) - 4000


def test_a_truncated_answer_is_no_file(origin: Memory, tmp_path: Path) -> None:
    name = "sub/model.safetensors"
    whole, listing = CONTENT[name], origin.list()
    origin.list = lambda: listing
    origin.content[name] = whole[:2500]
    fails(origin, tmp_path, f"{name} .*ended after 2500 of {len(whole)} bytes")
    origin.content[name] = whole
    assert stored(get(origin, tmp_path))[name] == whole


def test_a_wrong_hash_deletes_what_was_fetched(origin: Memory, tmp_path: Path) -> None:
    name = "sub/model.safetensors"
    origin.hashes[name] = hashlib.sha256(CONTENT[name]).hexdigest()
    origin.content[name] = b"x" * len(CONTENT[name])
    fails(origin, tmp_path, f"the SHA-256 of {name} is .*, not {origin.hashes[name]}; what was fetched is deleted")
    assert not list(tmp_path.rglob("model*"))
    assert list(tmp_path.rglob("config.json"))


def test_unchanged_files_are_taken_from_the_version_before(origin: Memory, tmp_path: Path) -> None:
    before = get(origin, tmp_path)
    origin.content["config.json"], origin.served = b"{1}", 0
    after = get(origin, tmp_path)
    assert after != before
    assert origin.served == 3
    assert stored(after) == dict(sorted(origin.content.items()))
    assert not before.exists(), "nobody uses the version before"


def test_a_partial_file_survives_a_change_of_other_files(origin: Memory, tmp_path: Path) -> None:
    def cut(name: str, at: int) -> None:
        if at >= 4000:
            raise Interrupted("cut")

    origin.before = cut
    fails(origin, tmp_path, "cut")
    origin.content["config.json"], origin.before, origin.served = b"{1}", lambda name, at: None, 0
    get(origin, tmp_path)
    assert origin.served == len(CONTENT["sub/model.safetensors"]) - 4000 + 3


def test_a_version_in_use_stays(origin: Memory, tmp_path: Path) -> None:
    used = fetch(origin, tmp_path, FetchProgress("llama"))
    origin.content["config.json"] = b"{1}"
    get(origin, tmp_path)
    assert stored(used.path) == dict(sorted(CONTENT.items()))
    used.close()
    get(origin, tmp_path)
    assert not used.path.exists()


def test_a_source_that_is_down_does_not_stop_a_replica(origin: Memory, tmp_path: Path, capfd) -> None:
    origin.down = True
    fails(origin, tmp_path, "is down")
    origin.down = False
    path = get(origin, tmp_path)
    origin.down = True
    assert get(origin, tmp_path) == path
    assert "is down; using the files that were fetched before" in capfd.readouterr().err


def test_a_commit_that_is_there_is_not_asked_for(origin: Memory, tmp_path: Path) -> None:
    origin.pinned = origin.list().version
    path = get(origin, tmp_path)
    origin.down = True
    assert get(origin, tmp_path) == path


def test_replicas_of_one_node_fetch_once(origin: Memory, tmp_path: Path, capfd) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(name: str, at: int) -> None:
        begun.set()
        assert go_on.wait(120)

    origin.before = wait
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(get(origin, tmp_path))) for _ in range(3)]
    threads[0].start()
    assert begun.wait(120)
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(120)
    assert len(paths) == 3
    assert len(set(paths)) == 1
    assert origin.served == sum(map(len, CONTENT.values()))


def test_room_is_made_by_removing_what_nobody_uses(
    origin: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused = get(origin, tmp_path)
    used = fetch(Memory(source="s3://bucket/used"), tmp_path, FetchProgress("used"))

    def usage(folder: object) -> object:
        there = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
        return type("Usage", (), {"free": 25_000 - there})

    monkeypatch.setattr(shutil, "disk_usage", usage)
    third = get(Memory(source="s3://bucket/third"), tmp_path)
    assert third.exists()
    assert used.path.exists()
    assert not unused.exists()
    more = Memory({"big.safetensors": b"x" * 16_000}, source="s3://bucket/fourth")
    fails(more, tmp_path, r"15.6 KiB are to be fetched, but the disk of .* has only 14.4 KiB free: give the pool")
    assert used.path.exists()


def test_a_disk_that_fills_up_keeps_what_is_there(
    origin: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(name: str, at: int) -> None:
        if at >= 4000:
            raise OSError(errno.ENOSPC, "No space left on device")

    origin.before = full
    fails(origin, tmp_path, r"is full: 6.1 KiB of sub/model.safetensors are missing; what has arrived is kept")
    origin.before, origin.served = lambda name, at: None, 0
    get(origin, tmp_path)
    assert origin.served == len(CONTENT["sub/model.safetensors"]) - 4000


def sums(content: dict[str, bytes]) -> bytes:
    return b"".join(f"{hashlib.sha256(text).hexdigest()}  {name}\n".encode() for name, text in content.items())


def test_hashes_in_a_bucket_are_checked(tmp_path: Path) -> None:
    origin = Memory({**CONTENT, "SHA256SUMS": sums(CONTENT)})
    pin = hashlib.sha256(sums(CONTENT)).hexdigest()
    assert get(origin, tmp_path / "a", sha256=pin).exists()
    fails(origin, tmp_path / "a", "not the model's `sha256`", sha256="0" * 64)  # also once they are complete
    fails(origin, tmp_path / "b", "not the model's `sha256`", sha256="0" * 64)
    origin.content["config.json"] = b"xx"
    fails(origin, tmp_path / "c", "the SHA-256 of config.json is")
    less = sums({"config.json": b"{}"})
    origin = Memory({**CONTENT, "SHA256SUMS": less})
    fails(origin, tmp_path / "d", "does not name", sha256=hashlib.sha256(less).hexdigest())
    fails(Memory(), tmp_path / "e", "have no file SHA256SUMS", sha256=pin)


@pytest.mark.parametrize("version", ["../../x", "..", ".", "", "a/b", "/x"])
def test_versions_cannot_leave_the_folder(version: str) -> None:
    with pytest.raises(WeightsError, match="could leave its folder"):
        Listing(version, ())


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "", "a\0b", "./a"])
def test_names_cannot_leave_the_folder(name: str) -> None:
    with pytest.raises(WeightsError, match="could leave its folder"):
        RemoteFile(name, 1, "v")


def test_one_format_of_the_weights_is_fetched() -> None:
    def chosen(*names: str) -> list[str]:
        return [file.name for file in selected([RemoteFile(name, 1, "v") for name in names])]

    assert chosen(
        "config.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5", "original/consolidated.pth"
    ) == [
        "config.json",
        "model.safetensors",
    ]
    assert chosen("model-1-of-2.safetensors", "consolidated.safetensors") == ["model-1-of-2.safetensors"]
    assert chosen("consolidated.safetensors", "params.json") == ["consolidated.safetensors", "params.json"]
    assert chosen("pytorch_model.bin", "tokenizer.model") == ["pytorch_model.bin", "tokenizer.model"]


def test_progress_is_written_now_and_then(monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    now = [0.0]
    replace(monkeypatch, progress, time, monotonic=lambda: now[0])
    one = FetchProgress("llama")
    one.begin(4 << 30, 1 << 30)
    for _ in range(3):
        now[0] += 6
        one.add(512 << 20)
    assert capfd.readouterr().err.splitlines() == [
        "[weights of llama] fetching 3.0 GiB of 4.0 GiB",
        "[weights of llama] 2.0 GiB of 4.0 GiB (50 %), 85.3 MiB per second",
    ]
    assert [size(n) for n in (0, 1023, 1024, 5 << 40)] == ["0 B", "1023 B", "1.0 KiB", "5.0 TiB"]


def test_the_folder_is_that_of_the_pool(tmp_path: Path) -> None:
    assert shared_folder({"HEADRACE_WEIGHTS": "/weights"}) == Path("/weights")
    assert shared_folder({}) == Path.home() / ".cache/headrace/weights"
    (tmp_path / "file").touch()
    fails(Memory(), tmp_path / "file", "cannot be used: Not a directory")


def test_credentials_that_are_none_are_rejected() -> None:
    with pytest.raises(WeightsError, match="not a shared credentials file of AWS"):
        BucketFolder("s3://bucket/llama", "hello")
