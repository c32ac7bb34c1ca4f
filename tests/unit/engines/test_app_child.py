"""What an app's process tells of failures, and that threads of ended runs take no place of others unseen."""

from __future__ import annotations

import asyncio
import importlib
import json
import threading
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from serving.engines.apps.confinement import CHILD

GATEWAY = "http://127.0.0.1:4000"


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of an app's process."""
    monkeypatch.syspath_prepend(str(CHILD))
    names = ("server", "run", "functions", "threads", "checkpoints")
    return SimpleNamespace(**{name: importlib.import_module(f"headrace_apps.{name}") for name in names})


def test_only_errors_of_the_platform_are_reported_in_full(child: SimpleNamespace) -> None:
    import openai  # takes a second to import

    body = {"code": "invalid_api_key", "message": "Incorrect API key: sk-abc"}

    def of(url: str) -> openai.APIStatusError:
        response = httpx.Response(401, request=httpx.Request("POST", f"{url}/v1/chat/completions"))
        return openai.AuthenticationError("x", response=response, body=body)

    class Pretender(Exception):
        status_code, code = 429, "rate_limit_exceeded"

    told = {"status": 401, **body}
    assert child.server._failure(of(GATEWAY), GATEWAY) == told
    assert child.server._failure(child.run.PlatformError(401, body["code"], body["message"]), GATEWAY) == told
    for other in ("https://api.example.com", "http://127.0.0.1:4001", "http://127.0.0.1"):
        assert child.server._failure(of(other), GATEWAY) == {"code": "failed", "message": "AuthenticationError"}
    assert child.server._failure(Pretender("sk-abc"), GATEWAY) == {"code": "failed", "message": "Pretender"}


async def test_threads_of_ended_runs_hold_their_places(child: SimpleNamespace) -> None:
    let, begun = threading.Event(), threading.Semaphore(0)

    def hangs(messages: Any) -> str:
        begun.release()
        let.wait()
        return "late"

    async def answers(run: Any) -> None:
        await child.functions.run_function(hangs if run.settings["hangs"] else lambda _: "hi", run)

    said: list[dict[str, Any]] = []

    def begin(places: Any, hang: bool) -> asyncio.Task[None]:
        settings = {"hangs": hang}
        run = child.run.Run(GATEWAY, "t", [], 1, "t", False, settings, said.append)

        async def work() -> None:
            child.run.enter(run)
            async with places.place_of(run):
                await answers(run)

        return asyncio.create_task(work())

    places = child.threads.Places(2)
    asyncio.get_running_loop().set_default_executor(places.threads())
    hanging = [begin(places, True) for _ in range(2)]
    while not begun.acquire(blocking=False):
        await asyncio.sleep(0)
    while not begun.acquire(blocking=False):
        await asyncio.sleep(0)
    assert not places.stuck, "the runs go on"
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    assert places.stuck
    waits = begin(places, False)
    await asyncio.sleep(0)
    assert not waits.done()
    let.set()
    await waits
    assert said == [{"text": "hi"}]
    await begin(places, False)
    assert not places.stuck


async def test_the_health_check_fails_after_a_fatal_error(child: SimpleNamespace) -> None:
    class Writer:
        def __init__(self) -> None:
            self.data = b""

        def write(self, data: bytes) -> None:
            self.data += data

        async def drain(self) -> None:
            pass

    async def health(stuck: bool) -> int:
        server = child.server.RunServer(None, "key", 1, 1.0)
        server._places = SimpleNamespace(stuck=stuck)
        reader, writer = asyncio.StreamReader(), Writer()
        reader.feed_data(b"GET /health HTTP/1.1\r\n\r\n")
        await server._answer(reader, writer)
        return json.loads(writer.data.split()[1])

    assert (await health(False), await health(True)) == (200, 503)


async def test_writes_wait_for_their_checkpoint(child: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Exception | None] = []

    class Platform:
        def ask(self, *_: object) -> None:
            if answers and (answer := answers.pop(0)) is not None:
                raise answer

    module = child.checkpoints
    monkeypatch.setattr(module, "current", Platform)
    monkeypatch.setattr(module, "WRITES_WAIT_S", (0, 0))
    at = {"configurable": {"thread_id": "t", "checkpoint_id": "1"}}
    missing = child.run.PlatformError(404, "not_found", "There is no such checkpoint.")
    answers += [missing, missing, None]
    await module.PlatformSaver().aput_writes(at, [("a", 1)], "task")
    assert answers == []
    for refused in ([missing] * 3, [child.run.PlatformError(401, "invalid_api_key", "over")]):
        answers += refused
        with pytest.raises(child.run.PlatformError):
            await module.PlatformSaver().aput_writes(at, [("a", 1)], "task")
        assert answers == []
