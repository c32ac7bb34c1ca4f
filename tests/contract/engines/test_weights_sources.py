"""Weights from real object stores, and from a Hub whose answers are wrong; a fetcher that is killed goes on."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from serving.config import VllmModel
from serving.engines import vllm
from serving.engines.weights import bucket, download, fetch
from serving.engines.weights.progress import FetchProgress
from serving.engines.weights.remote import Interrupted, WeightsError
from serving.store.objects import data
from serving.telemetry import metrics
from tests.servers.hub import Hub, hub_with
from tests.servers.object_stores import S3, Gcs, ObjectStore
from tests.wait import eventually

SOURCE = "hf://acme/llama"
FILES = {
    "config.json": b'{"architectures": ["LlamaForCausalLM"]}',
    "tokenizer/a b.json": b"{}",
    "model-1.safetensors": random.Random(1).randbytes(300_000),
    "model-2.safetensors": random.Random(2).randbytes(100_000),
}


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES_S", (0, 0))


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_with(FILES) as hub:
        yield hub


def get(origin: fetch.Remote, root: Path, sha256: str | None = None) -> dict[str, bytes]:
    """Fetches the weights, and returns what is in their folder."""
    weights = fetch.fetch(origin, root, FetchProgress("llama"), sha256)
    weights.close()
    return stored(weights.path)


def stored(path: Path) -> dict[str, bytes]:
    found = {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    del found[".headrace.json"]
    return found


# Buckets


def put(store: ObjectStore, files: Mapping[str, bytes]) -> str:
    """Writes files below an unused prefix, and returns its URI."""
    settings = store.store()
    place = data.place(settings, "llama")
    for name, content in files.items():
        writing = place.create(name)
        writing.append(content)
        writing.publish()
    return f"{settings.data}/llama"


def test_an_interrupted_fetch_from_a_bucket_is_continued(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "PART", 70_000)
    source = put(object_store, FILES)
    origin = bucket.BucketFolder(source, endpoint=object_store.endpoint)
    read = origin.read
    cut = [1]

    def interrupted(file, offset):
        for part in read(file, offset):
            yield part
            if file.name == "model-1.safetensors" and cut:
                cut.pop()
                raise Interrupted("cut")

    monkeypatch.setattr(origin, "read", interrupted)
    assert get(origin, tmp_path) == FILES
    assert not cut


def test_a_file_that_changes_while_it_is_fetched(object_store: ObjectStore, tmp_path: Path) -> None:
    source = put(object_store, FILES)
    origin = bucket.BucketFolder(source, endpoint=object_store.endpoint)
    listing = origin.list()
    changed = {**FILES, "config.json": b"{}" + FILES["config.json"][2:]}
    place = data.place(object_store.store(data=source.rpartition("/")[0]), "llama")
    writing = place.create("config.json")
    writing.append(changed["config.json"])
    writing.publish()
    origin.list = lambda: listing
    with pytest.raises(WeightsError, match=r"config.json of .* has changed since the files were listed"):
        get(origin, tmp_path)
    assert get(bucket.BucketFolder(source, endpoint=object_store.endpoint), tmp_path) == changed


def test_errors_say_what_is_wrong_with_a_bucket(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(source: str, message: str, **settings: str) -> None:
        with pytest.raises(WeightsError, match=message):
            get(bucket.BucketFolder(source, endpoint=settings.get("endpoint", object_store.endpoint)), tmp_path)

    fails(f"{object_store.place}/nothing/here", "has no files")
    fails(f"{object_store.missing}/b", "the bucket does not exist")
    fails(f"{object_store.place}/a/b", "cannot be read", endpoint="http://127.0.0.1:1")
    refused = object_store.refused(monkeypatch)
    fails(f"{refused.data}/a", "credentials are refused|access is denied")


def test_a_models_own_credentials_open_its_bucket(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = put(object_store, {"config.json": b"{}"})
    if isinstance(object_store, Gcs):  # the keys of service accounts need Google itself
        monkeypatch.setenv("GCE_METADATA_ROOT", f"127.0.0.1:{object_store.port}/wrong")
        with pytest.raises(WeightsError, match="credentials are refused"):
            get(bucket.BucketFolder(source, endpoint=object_store.endpoint), tmp_path)
        return
    for name in object_store.environment.keys() - {"AWS_EC2_METADATA_DISABLED"}:
        monkeypatch.delenv(name)
    with pytest.raises(WeightsError):
        get(bucket.BucketFolder(source, endpoint=object_store.endpoint), tmp_path)
    secret = object_store.environment.get("AZURE_STORAGE_ACCOUNT_KEY", "")
    if isinstance(object_store, S3):
        secret = f"[default]\naws_access_key_id={object_store.key}\naws_secret_access_key={object_store.secret}\n"
    assert get(bucket.BucketFolder(source, secret, object_store.endpoint), tmp_path / "a") == {"config.json": b"{}"}
    if isinstance(object_store, S3):
        (tmp_path / "credentials").write_text(secret)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        origin = bucket.BucketFolder(source, endpoint=object_store.endpoint)
        assert get(origin, tmp_path / "b") == {"config.json": b"{}"}


# The Hub


def from_hub(hub: Hub, source: str = SOURCE, token: str | None = None) -> fetch.Remote:
    return fetch.remote(source, token, hub.url)


def test_a_fetched_commit_does_not_need_the_hub(hub: Hub, tmp_path: Path) -> None:
    hub.token = "hf_secret"
    assert get(from_hub(hub, token="hf_secret"), tmp_path) == FILES
    assert metrics.weights_fetched_bytes.labels("llama")._value.get() == sum(map(len, FILES.values()))
    commit = f"{SOURCE}@{hub.commit}"
    assert get(from_hub(hub, commit, "hf_secret"), tmp_path) == FILES
    hub.refusal = (503, "")
    assert get(from_hub(hub, commit), tmp_path) == FILES
    with pytest.raises(WeightsError, match="answers with status 503"):
        get(from_hub(hub, f"{SOURCE}@other"), tmp_path)


@pytest.mark.parametrize(
    ("refusal", "token", "message"),
    [
        ((401, "RepoNotFound"), None, "does not exist, or is private and needs the model's `token`"),
        ((404, "RepoNotFound"), "t", "does not exist, or is private"),
        ((401, ""), "t", "the Hub refuses the model's `token`"),
        ((403, "GatedRepo"), None, "it is gated, and the model has no `token`: accept its conditions"),
        ((403, "GatedRepo"), "t", "the model's `token` has no access"),
        ((404, "RevisionNotFound"), "t", "it has no revision 'main'"),
        ((429, ""), "t", "answers with status 429"),
        ((410, ""), "t", "the Hub answers with status 410"),
    ],
)
def test_errors_say_why_the_hub_refuses(
    hub: Hub, tmp_path: Path, refusal: tuple[int, str], token: str | None, message: str
) -> None:
    hub.refusal = refusal
    with pytest.raises(WeightsError, match=message) as caught:
        get(from_hub(hub, token=token), tmp_path)
    assert isinstance(caught.value, Interrupted) == (refusal[0] == 429)


def test_a_server_that_is_not_the_hub(hub: Hub, tmp_path: Path) -> None:
    hub.document = lambda: b'{"hello": 1}'
    with pytest.raises(WeightsError, match="does not answer as the Hub does"):
        get(from_hub(hub), tmp_path)
    with pytest.raises(Interrupted, match="cannot be reached"):
        fetch.remote(SOURCE, endpoint="http://127.0.0.1:1").list()


@pytest.mark.parametrize("ranges", [True, False])
def test_answers_that_are_cut_are_continued(hub: Hub, tmp_path: Path, ranges: bool) -> None:
    hub.cut_after, hub.ranges = 100_000, ranges
    if ranges:  # each attempt brings it forward
        assert get(from_hub(hub), tmp_path) == FILES
        return
    with pytest.raises(WeightsError, match=r"model-1.safetensors .*given up after 3 attempts"):
        get(from_hub(hub), tmp_path)
    hub.cut_after = 0
    assert get(from_hub(hub), tmp_path) == FILES


def test_damaged_files_are_found(hub: Hub, tmp_path: Path) -> None:
    for name in ("model-1.safetensors", "config.json"):
        hub.damaged = {name: b"x" * len(FILES[name])}
        with pytest.raises(WeightsError, match=f"of {name} is .* what was fetched is deleted"):
            get(from_hub(hub), tmp_path / name)
        hub.damaged = {}
        assert get(from_hub(hub), tmp_path / name) == FILES


FETCHER = """
import sys
from pathlib import Path
from serving.engines.weights import fetch
from serving.engines.weights.progress import FetchProgress
weights = fetch.fetch(fetch.remote(sys.argv[1], None, sys.argv[2]), Path(sys.argv[3]), FetchProgress("llama"))
print(weights.path, flush=True)
"""


@contextlib.contextmanager
def fetcher(hub: Hub, root: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, "-c", FETCHER, SOURCE, hub.url, str(root)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("kills", [1, pytest.param(30, marks=pytest.mark.soak)])
def test_a_killed_fetcher_loses_nothing(hub: Hub, tmp_path: Path, kills: int) -> None:
    """At random places: the bytes are the same in the end, and those that had arrived are not fetched again."""
    chance = random.Random(kills)
    for _ in range(kills):
        pieces = chance.randint(0, 50 // kills)
        hub.permits, hub.stuck = threading.Semaphore(pieces), threading.Event()
        with fetcher(hub, tmp_path) as process:
            assert hub.stuck.wait(60)
            if pieces:
                eventually(lambda: _arrived(tmp_path) > 0, "what was sent arrives", 60)
            process.kill()
        hub.permits, old = threading.Semaphore(0), hub.permits
        old.release(1000)
    arrived = _arrived(tmp_path)
    assert arrived > 0
    hub.permits, hub.served = None, 0
    with fetcher(hub, tmp_path) as process:
        path, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert stored(Path(path.strip())) == FILES
    listing = len(hub.document())
    assert hub.served <= sum(map(len, FILES.values())) - arrived + 3 * listing


def _arrived(root: Path) -> int:
    """Returns how many bytes of the files there are."""
    names = [name for file in FILES for name in (file, f"{file}.part")]
    return sum(path.stat().st_size for name in names for path in root.rglob(name))


def test_a_second_replica_waits_for_the_first(hub: Hub, tmp_path: Path) -> None:
    hub.permits = threading.Semaphore(0)
    with fetcher(hub, tmp_path) as first, fetcher(hub, tmp_path) as second:
        assert "another replica fetches them; waiting for it" in _line_of_the_waiting(first, second)
        hub.permits.release(1000)
        paths = {process.communicate(timeout=60)[0] for process in (first, second)}
    assert len(paths) == 1
    assert hub.served < sum(map(len, FILES.values())) + 3 * len(hub.document())


def _line_of_the_waiting(*processes: subprocess.Popen[str]) -> str:
    """Returns the first line of the process that has to wait."""
    lines: list[str] = []
    found = threading.Event()

    def read(process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        line = process.stderr.readline()
        if "waiting" in line:
            lines.append(line)
            found.set()

    for process in processes:
        threading.Thread(target=read, args=(process,), daemon=True).start()
    assert found.wait(60)
    return lines[0]


# The replica


def test_a_replica_gives_vllm_the_folder(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_WEIGHTS", str(tmp_path))
    config = VllmModel(name="llama", source=SOURCE, endpoint=hub.url)
    found = vllm.fetched_weights(config)
    argv = vllm.command(config, "h", 1, {source: weights.path for source, weights in found.items()})
    assert stored(Path(argv[2])) == FILES
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setattr(httpx.Client, "stream", lambda *_: pytest.fail("they are there"))
    again = vllm.fetched_weights(VllmModel(name="llama", source=SOURCE))
    assert again[SOURCE].path == found[SOURCE].path
    assert os.path.commonpath([again[SOURCE].path, tmp_path]) == str(tmp_path)
