"""The file of a listed model, from a hub on this host: fetched once, continued, and held to its first hash."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from serving.engines.weights import download
from tests.servers.hub import REPOSITORY, Hub, hub_with
from tools.report import ToolError
from tools.stack.model_list import ListedModel
from tools.stack.model_weights import Fetched, fetch

FILE = "llama-q4.gguf"
CONTENT = random.Random(1).randbytes(1_500_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MODEL = ListedModel(
    name="llama",
    parameters="1B",
    repository=REPOSITORY,
    file=FILE,
    licence="MIT",
    approximate_bytes=len(CONTENT),
    layers=1,
    kv_heads=1,
    head_dim=1,
)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES_S", (0, 0))


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_with({"README.md": b"Llama", FILE: CONTENT, "llama-q8.gguf": b"another"}) as hub:
        yield hub


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    return tmp_path / ".headrace" / "models.json"


def get(hub: Hub, pins: Path, **environment: str) -> Fetched:
    return fetch(MODEL, pins, {"HF_ENDPOINT": hub.url, **environment})


def test_the_first_fetch_records_revision_and_hash_and_later_ones_ask_nobody(hub: Hub, pins: Path) -> None:
    fetched = get(hub, pins)
    assert fetched.path.read_bytes() == CONTENT
    recorded = {"source": f"hf://{REPOSITORY}@{hub.commit}", "file": FILE, "size": len(CONTENT), "sha256": SHA256}
    assert json.loads(pins.read_text()) == {"llama": recorded}
    served = hub.served
    assert served < len(CONTENT) + 2000  # nothing else of the repository
    hub.refusal = (500, "")
    assert get(hub, pins) == fetched
    assert hub.served == served


def test_a_broken_download_is_continued(hub: Hub, pins: Path) -> None:
    hub.cut_after, hub.ranges = 1_000_000, False
    with pytest.raises(ToolError, match=r"ended after .* of 1500000 bytes|interrupted.* given up after 3 attempts"):
        get(hub, pins)
    assert not pins.exists()
    hub.cut_after, hub.ranges, hub.served = 0, True, 0
    assert get(hub, pins).path.read_bytes() == CONTENT
    assert hub.served < 600_000


def test_a_wrong_hash_is_deleted_and_not_recorded(hub: Hub, pins: Path, cache_root: Path) -> None:
    hub.damaged = {FILE: b"x" * len(CONTENT)}
    with pytest.raises(ToolError, match=rf"the SHA-256 of {FILE} is .*, not {SHA256}; what was fetched is deleted"):
        get(hub, pins)
    assert not pins.exists()
    assert [f for f in (cache_root / "models").rglob("*") if f.is_file()] == []
    hub.damaged = {}
    assert get(hub, pins).path.read_bytes() == CONTENT


def test_the_first_hash_is_held_whatever_the_hub_says_later(hub: Hub, pins: Path) -> None:
    fetched, recorded = get(hub, pins), pins.read_text()
    fetched.path.unlink()
    hub.files[FILE] = b"y" * len(CONTENT)
    served = hub.served
    with pytest.raises(
        ToolError, match=f"@{fetched.pin.source[-40:]} states SHA-256 .* first fetched, these were {SHA256}"
    ):
        get(hub, pins)
    hub.refusal = (404, "RevisionNotFound")
    with pytest.raises(ToolError, match=f"it has no revision '{fetched.pin.source[-40:]}'; HF_ENDPOINT can name a"):
        get(hub, pins)
    assert hub.served < served + 2000
    assert pins.read_text() == recorded
    hub.files[FILE], hub.refusal = CONTENT, None
    assert get(hub, pins) == fetched


def test_a_hash_of_the_list_is_held_from_the_first_fetch_on(hub: Hub, pins: Path) -> None:
    listed, another = replace(MODEL, sha256=SHA256), replace(MODEL, sha256="0" * 64)
    with pytest.raises(ToolError, match=rf"states SHA-256 {SHA256} of {FILE}, and Headrace's list has 000.*MODEL=list"):
        fetch(another, pins, {"HF_ENDPOINT": hub.url})
    assert hub.served < 2000
    assert not pins.exists()
    assert fetch(listed, pins, {"HF_ENDPOINT": hub.url}).pin.sha256 == SHA256


@pytest.mark.parametrize("content", ["{", "[]", '{"llama": {"sha256": 1}}', '{"llama": 1}'])
def test_a_damaged_record_is_not_taken_for_none(hub: Hub, pins: Path, content: str) -> None:
    pins.parent.mkdir()
    pins.write_text(content)
    with pytest.raises(ToolError, match="records the hashes of models and is damaged"):
        get(hub, pins)
    assert hub.served == 0


def test_what_the_hub_lacks_is_named(hub: Hub, pins: Path) -> None:
    del hub.files[FILE]
    with pytest.raises(ToolError, match=rf"llama cannot be fetched: hf://{REPOSITORY} has no file {FILE}"):
        get(hub, pins)
    hub.refusal = (404, "RepoNotFound")
    with pytest.raises(ToolError, match="it does not exist, or is private"):
        get(hub, pins)
    hub.refusal, hub.token = None, "hf_1"
    with pytest.raises(ToolError, match="it does not exist, or is private"):
        get(hub, pins)
    hub.files[FILE] = CONTENT
    assert get(hub, pins, HF_TOKEN="hf_1").path.read_bytes() == CONTENT


def test_a_hub_that_is_down_is_named(pins: Path) -> None:
    with pytest.raises(ToolError, match=r"http://127.0.0.1:9 cannot be reached: .*; HF_ENDPOINT can name a mirror"):
        fetch(MODEL, pins, {"HF_ENDPOINT": "http://127.0.0.1:9"})


@pytest.fixture
def disk(cache_root: Path) -> Iterator[Path]:
    """A small disk for the cache, which only root can make."""
    cache_root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(cache_root)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk can only be made by root")
    yield cache_root
    subprocess.run(["umount", "--lazy", str(cache_root)], check=True)


def test_a_disk_that_is_too_small_is_told_before_the_download(hub: Hub, pins: Path, disk: Path) -> None:
    with pytest.raises(ToolError, match=r"has .* free, and 1.4 MiB are missing; make room, or set HEADRACE_CACHE to"):
        get(hub, pins)
    assert hub.served < 2000
    subprocess.run(["mount", "-o", "remount,size=2m", str(disk)], check=True)
    assert get(hub, pins).path.read_bytes() == CONTENT
