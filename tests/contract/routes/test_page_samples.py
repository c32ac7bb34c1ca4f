"""Samples of pages, as a developer runs them who has installed `openai` and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from serving.config import Catalog, RemoteModel
from tests.contract.api.test_assistants import Retrieval
from tests.contract.running import Gateway, Loop, engine, gateway
from tests.pages import snippets

ALONE = "import sys; sys.modules['httpx'] = None; exec(compile(sys.stdin.read(), 'page', 'exec'))"
"""Runs a program where the package `httpx` cannot be imported: the client uses another one."""

WORDS = [f"word{n} " for n in range(40)]

CUT = 1500
"""Bytes of an answer, with its headers, after which a connection breaks."""


PART = 15
"""Words after which a model waits for the next connection to break: one that has got everything cannot be resumed."""


class Model:
    """Says its words; while it streams, `breaks` of its caller's connections have to break in between."""

    def __init__(self) -> None:
        self.breaks = 0
        self.broken = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if not asked.get("stream"):
            message = {"role": "assistant", "content": "".join(WORDS)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response({"id": "x", "created": 1, "choices": [choice]})
        response = web.StreamResponse()
        await response.prepare(request)
        for place, word in enumerate(WORDS):
            while self.broken < min(place // PART, self.breaks):
                await asyncio.sleep(0.005)
            await response.write(frame({"content": word}))
        await response.write(frame({}, "stop") + b"data: [DONE]\n\n")
        return response


def frame(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "x", "created": 1, "choices": [choice]}).encode() + b"\n\n"


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture(scope="module")
def up(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", model.answer)
    with Loop() as loop, engine(loop, app) as port:
        models = tuple(RemoteModel(name=name, url=f"http://127.0.0.1:{port}/v1") for name in ("smollm2", "docs"))
        folder = tmp_path_factory.mktemp("gateway")
        with gateway(loop, folder, Catalog(models=models), retrieval=Retrieval()) as made:
            yield made


def typed(page: str, url: str, key: str, folder: Path) -> str:
    """Returns what a page's Python prints, typed in its order."""
    source = "\n".join(one.text for one in snippets.of(page) if one.language == "python")
    environment = {**os.environ, "URL": url, "KEY": key}
    done = subprocess.run(
        [sys.executable, "-c", ALONE], input=source, env=environment, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("page", ["version-and-release-prompts", "make-an-assistant-by-the-api"])
def test_samples_need_the_client_alone(up: Gateway, tmp_path: Path, page: str) -> None:
    assert "word0" in typed(f"docs/how-to/{page}.md", up.url, up.key, tmp_path)


class Breaking:
    """A proxy on loopback whose first connections break, each after `CUT` bytes of an answer."""

    def __init__(self, port: int, model: Model) -> None:
        self._port, self._model = port, model
        self._listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(caller,), daemon=True).start()

    def _relay(self, caller: socket.socket) -> None:
        with caller, socket.create_connection(("127.0.0.1", self._port)) as there:
            threading.Thread(target=self._ask, args=(caller, there), daemon=True).start()
            left = CUT if self._model.broken < self._model.breaks else sys.maxsize
            while left and (piece := there.recv(min(left, 65536))):
                caller.sendall(piece)
                left -= len(piece)
            self._model.broken += not left
            for each in (caller, there):  # whose other direction is being read
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _ask(self, caller: socket.socket, there: socket.socket) -> None:
        try:
            while piece := caller.recv(65536):
                there.sendall(piece)
        except OSError:
            return

    def close(self) -> None:
        self._listening.close()


def test_the_sample_of_lost_connections_gets_every_event_once(up: Gateway, model: Model, tmp_path: Path) -> None:
    model.breaks = 2
    proxy = Breaking(int(up.url.rpartition(":")[2]), model)
    try:
        printed = typed("docs/how-to/survive-a-lost-connection.md", proxy.url, up.key, tmp_path)
    finally:
        proxy.close()
    *events, last = printed.split("\n")[:-1]
    said = [json.loads(event)["choices"][0]["delta"].get("content") for event in events if json.loads(event)["choices"]]
    assert "".join(word for word in said if word) == "".join(WORDS)
    assert last == "[DONE]"
    assert model.broken == model.breaks
