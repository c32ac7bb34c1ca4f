"""Buckets as sources of collections: real object servers, and one that breaks off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from serving.config import Store
from serving.ingest.__main__ import ingest, main
from serving.ingest.api import IngestError
from serving.ingest.bucket import BucketSource
from serving.store.objects import data
from tests.contract.ingest.stack import Stack, as_user, found
from tests.servers.listening import listening
from tests.servers.object_stores import S3, ObjectStore
from tests.wait import eventually

HERON = "# Heron\n\nThe heron stands in the river and waits for fish."
MILL = "# Mill\n\nThe mill grinds corn with the force of water."


class Counted(BucketSource):
    """A bucket that notes what is downloaded."""

    def __init__(self, uri: str, endpoint: str) -> None:
        super().__init__(uri, endpoint, None, every_kind=False, say=print)
        self.downloads: list[str] = []

    def read(self, path: str, version: str) -> bytes:
        self.downloads.append(path)
        return super().read(path, version)


class Objects:
    """An unused prefix of a bucket."""

    def __init__(self, store: Store) -> None:
        self._place = data.place(store, "docs")
        self.uri = f"{store.data}/docs"
        self.endpoint = str(store.endpoint)

    def put(self, files: Mapping[str, str | bytes]) -> None:
        for name, content in files.items():
            writing = self._place.create(name)
            writing.append(content.encode() if isinstance(content, str) else content)
            writing.publish()

    def delete(self, name: str) -> None:
        self._place.delete(name)

    def source(self) -> Counted:
        return Counted(self.uri, self.endpoint)

    def command(self, stack: Stack, *more: str) -> list[str]:
        where = [f"--documents={self.uri}", f"--endpoint={self.endpoint}"]
        return [f"--url={stack.url}", "--collection=birds", f"--key={stack.key}", *where, *more]


@pytest.fixture
def objects(object_store: ObjectStore) -> Objects:
    return Objects(object_store.store())


def sync(stack: Stack, source: BucketSource) -> None:
    ingest(stack.url, stack.key, "birds", source, wait_s=60)


def test_a_collection_follows_its_bucket(small: Stack, objects: Objects, capsys: pytest.CaptureFixture[str]) -> None:
    odd = "sub/Mühle 50% + ~1.md"
    objects.put({"heron.md": HERON, odd: MILL, "empty.md": "", "picture.png": b"\x89PNG", ".hidden/a.md": "x"})
    first = objects.source()
    assert "skipped, empty or of an unsupported kind: empty.md, picture.png" in capsys.readouterr().out
    sync(small, first)
    assert sorted(first.downloads) == ["heron.md", odd]
    found(small, {"heron.md", "Mühle 50% + ~1.md"})
    # Nothing changed: nothing is downloaded, and nothing written but that it was checked.
    again = objects.source()
    small.calls.clear()
    sync(small, again)
    assert again.downloads == []
    assert len([call for call in small.calls if not call.startswith("GET ")]) == 1
    # One changed with its size kept, one gone, one new.
    objects.put({"heron.md": HERON.replace("fish", "frog"), "otter.md": "# Otter\n\nThe otter swims at night."})
    objects.delete(odd)
    later = objects.source()
    sync(small, later)
    assert sorted(later.downloads) == ["heron.md", "otter.md"]
    found(small, {"heron.md", "otter.md"})


def test_the_same_content_elsewhere_is_not_ingested_again(small: Stack, objects: Objects, tmp_path: Path) -> None:
    """As when a folder moves into a bucket: only the versions of the documents are other ones."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "heron.md").write_text(HERON)
    objects.put({"heron.md": HERON})
    given = [f"--url={small.url}", "--collection=birds", f"--key={small.key}"]
    assert main([*given, f"--documents={tmp_path / 'docs'}"]) == 0
    small.calls.clear()
    sync(small, objects.source())
    assert "POST /v1/files" not in small.calls
    second = objects.source()
    sync(small, second)
    assert second.downloads == []
    found(small, {"heron.md"})


def test_what_was_ingested_before_a_kill_is_not_ingested_again(small: Stack, s3: S3) -> None:
    objects = Objects(s3.store())
    count = 60
    objects.put({f"{n:03}.md": f"# Note {n}\n\nThe heron of note {n}." for n in range(count)})
    process = subprocess.Popen([sys.executable, "-m", "serving.ingest", *objects.command(small)])
    try:
        uploads = lambda: small.calls.count("POST /v1/files")  # noqa: E731
        # A fifth upload begins once one of the four at once is attached.
        eventually(lambda: uploads() >= 8, "documents are uploaded")
    finally:
        process.kill()
        process.wait()
    eventually(lambda: small.in_flight == 0, "the requests of the killed process end")
    before = documents(small)
    assert 0 < len(before) < count
    second = objects.source()
    sync(small, second)
    assert set(second.downloads).isdisjoint(before)
    assert sorted(documents(small)) == [f"{n:03}.md" for n in range(count)]


def test_one_percent_of_changes_costs_a_few_percent_of_the_requests(small: Stack, s3: S3) -> None:
    objects, count = Objects(s3.store()), 100
    objects.put({f"{n:03}.md": f"# Note {n}\n\nThe heron of note {n}." for n in range(count)})
    first = objects.source()
    sync(small, first)
    requests = len([call for call in small.calls if "in_progress" not in call])
    objects.put({f"{n:03}.md": f"# Note {n}\n\nThe otter of note {n}." for n in range(count // 100)})
    small.calls.clear()
    second = objects.source()
    sync(small, second)
    writes = [call for call in small.calls if not call.startswith("GET ")]
    # Of each changed document an upload, its attachment and both removals; and the time of the check.
    assert len(writes) == 4 * count // 100 + 1
    assert (len(first.downloads), len(second.downloads)) == (count, count // 100)
    assert requests > 2 * count


def documents(stack: Stack) -> list[str]:
    with as_user(stack) as client:
        (store,) = client.get("/v1/vector_stores").json()["data"]
        files = client.get(f"/v1/vector_stores/{store['id']}/files", params={"limit": 100}).json()["data"]
    return [file["attributes"]["path"] for file in files]


def test_errors_say_what_is_wrong_and_remove_nothing(
    small: Stack,
    object_store: ObjectStore,
    objects: Objects,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    objects.put({"heron.md": HERON})
    sync(small, objects.source())

    def fails(uri: str, reason: str, endpoint: str = objects.endpoint) -> None:
        capsys.readouterr()
        given = [f"--documents={uri}", f"--endpoint={endpoint}"]
        assert main([f"--url={small.url}", "--collection=birds", f"--key={small.key}", *given]) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert reason in said
        assert "Traceback" not in said

    small.calls.clear()
    fails(f"{object_store.place}/nothing", "has no files")
    fails(object_store.missing, "the bucket does not exist")
    fails(object_store.place.partition("//")[0] + "//", "has no bucket")
    refused = object_store.refused(monkeypatch)
    fails(f"{refused.data}/docs", "allow this identity" if "az://" in objects.uri else "are refused: check ")
    assert small.calls == []
    found(small, {"heron.md"})


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, closed_port: int) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(IngestError, match=r"AWS_SHARED_CREDENTIALS_FILE.* cannot be read: No such file"):
        BucketSource("s3://bucket/a", f"http://127.0.0.1:{closed_port}", None, every_kind=True, say=print)


PAGE = """<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>
<Prefix>docs/</Prefix><KeyCount>1</KeyCount><MaxKeys>1</MaxKeys><IsTruncated>{more}</IsTruncated>{token}
<Contents><Key>docs/heron.md</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"abc"</ETag>
<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>"""


@contextmanager
def server(second: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """An S3 service whose list has two pages, the second of which is written by `second`."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            if "continuation-token" in self.path:
                second(self)
                return
            token = "<NextContinuationToken>t</NextContinuationToken>"
            body = PAGE.format(more="true", token=token, size=len(HERON)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with listening(Handler) as port:
        yield f"http://127.0.0.1:{port}"


def forbidden(request: BaseHTTPRequestHandler) -> None:
    request.send_response(403)
    request.send_header("content-length", "0")
    request.end_headers()


def broken_off(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("content-length", "1000")
    request.end_headers()
    request.wfile.write(b"<?xml")
    request.close_connection = True


@pytest.mark.parametrize(
    ("second", "reason"), [(forbidden, "access is denied: allow this identity"), (broken_off, "cannot be read")]
)
def test_half_a_list_is_an_error(
    second: Callable[[BaseHTTPRequestHandler], None], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first page alone would look as if all other documents had been deleted."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setattr("serving.engines.weights.bucket.REQUEST_S", 2)
    with server(second) as endpoint, pytest.raises(IngestError, match=reason):
        BucketSource("s3://bucket/docs", endpoint, None, every_kind=True, say=print)
