"""`make up MODEL=...` of a running stack: a real model from a hub on this host, over a network and with a file that are
not what they should be, until it answers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from mmap import ACCESS_COPY, ACCESS_READ, mmap
from pathlib import Path

import pytest

from infra.layout import CHECKOUT
from tests.servers.hub import PIECE, Hub, hub_with
from tests.servers.real_model import CODER, obtain
from tests.stack.life import chat
from tests.stacks.stack import Stack, own_stack
from tools import cache

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2400)]


def mapped(file: Path, access: int) -> mmap:
    with file.open("rb") as content:
        return mmap(content.fileno(), 0, access=access)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_with({CODER.file: mapped(obtain(), ACCESS_READ)}, CODER.repository) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def without_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, but for the models in it: nobody's are deleted, and programs are not built again."""
    for each in cache.root().iterdir():
        if not each.name.startswith("models"):
            (tmp_path / each.name).symlink_to(each)
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path))
    return tmp_path / "models"


def kill_while_fetching(stack: Stack, hub: Hub) -> None:
    """Lets `up` fetch half of the file, and kills it."""
    hub.permits = threading.Semaphore(CODER.approximate_bytes // PIECE // 2)
    up = subprocess.Popen(
        [sys.executable, "-m", "tools.stack", "up"],
        cwd=CHECKOUT,
        env={**os.environ, "STACK": stack.name},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert hub.stuck.wait(300)
    finally:
        up.kill()
        up.wait()
    waiting, hub.permits = hub.permits, None
    waiting.release()


def test_a_real_model_replaces_the_packaged_one_and_no_mishap_before_it_does(
    documents: Path, hub: Hub, without_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_stack("test-model", documents) as stack:
        monkeypatch.setenv("HEADRACE_MODEL", CODER.name)
        damaged = mapped(obtain(), ACCESS_COPY)
        damaged[len(damaged) // 2] ^= 1
        hub.damaged[CODER.file] = damaged
        said = stack.run("up", check=False)
        assert f"{CODER.name} cannot be fetched: the SHA-256 of {CODER.file} is" in said
        assert f"not {CODER.sha256}; what was fetched is deleted" in said
        assert chat(stack, "smollm2").status_code == 200

        del hub.damaged[CODER.file]
        kill_while_fetching(stack, hub)
        assert chat(stack, "smollm2").status_code == 200

        hub.served, hub.cut_after = 0, 100_000_000  # and this time the connection ends again and again
        said = stack.run("up")
        assert re.search(r"fetching 23\d\.\d MiB of 468\.6 MiB", said)
        assert hub.served < CODER.approximate_bytes * 0.55
        assert f"model: {CODER.name}, which later commands keep" in said
        assert [file.stat().st_size for file in without_models.rglob("*.gguf")] == [CODER.approximate_bytes]

        with stack.client() as client:
            names = {model["id"] for model in client.get("/v1/models").json()["data"]}
        assert CODER.name in names
        assert "smollm2" not in names
        assert "Paris" in answer(stack, CODER.name)

        monkeypatch.delenv("HEADRACE_MODEL")
        by_file = {"name": "coder", "engine": "llamacpp", "source": f"file://{obtain()}", "context": 4096, "slots": 1}
        by_file["memory_bytes"] = CODER.memory_bytes
        models = stack.settings()["models"]
        stack.change(models=[*models, {**by_file, "sha256": "0" * 64}])
        said = stack.run("up", check=False)
        assert f"{CODER.file}: its sha256 is {CODER.sha256}, not 000" in said
        assert "Paris" in answer(stack, CODER.name)

        monkeypatch.setenv("HEADRACE_MODEL", "default")
        stack.change(models=[*models, {**by_file, "sha256": CODER.sha256}])
        stack.run("up")
        assert chat(stack, "smollm2").status_code == 200
        assert "Paris" in answer(stack, "coder")


def answer(stack: Stack, model: str) -> str:
    """Returns what a model says to an easy question."""
    asked = [{"role": "user", "content": "What is the capital of France? Answer with one word."}]
    body = {"model": model, "messages": asked, "temperature": 0, "max_tokens": 20}
    with stack.client(timeout=300) as client:
        response = client.post("/v1/chat/completions", json=body).json()
    return str(response["choices"][0]["message"]["content"])
