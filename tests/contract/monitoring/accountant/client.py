"""Sends the accountant's requests, and writes down in the ledger what it sent and what it got."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from tests.contract.monitoring.accountant.engine import Engine, Script
from tests.contract.monitoring.accountant.ledger import NOBODY, Entry, Ledger
from tests.contract.monitoring.accountant.stack import ALIAS, CLERK, READER, RELEASED, SMALL

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
EMBEDDINGS, FEEDBACK, MODELS = "/v1/embeddings", "/v1/feedback", "/v1/models"
GUARD_S = 300
"""Nothing that is waited for takes so long, even on a busy host."""
WORD = b"word "


class Caller:
    """Somebody with a key: a user of a tenant; without one, a stranger."""

    def __init__(self, tenant: str | None, user: str = "", key: str = "") -> None:
        self.tenant = tenant
        self.user = user
        self.key = key


class Heard:
    """What has arrived of an answer: words, and after how long the first of them. It calls `on_first` then."""

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self._begun = time.perf_counter()
        self._on_first = on_first
        self.words = 0
        self.first_s: float | None = None

    def __call__(self, data: bytes) -> None:
        self.words = data.count(WORD)
        if self.words and self.first_s is None:
            self.first_s = time.perf_counter() - self._begun
            self._on_first()


async def until(true: Callable[[], object], what: str) -> None:
    """Waits for a condition; fails, saying `what`, if it does not come."""
    deadline = time.monotonic() + GUARD_S
    while not true():
        assert time.monotonic() < deadline, f"not within {GUARD_S} s: {what}"
        await asyncio.sleep(0.02)


class Client:
    """Two gateways' client; everything that it sends is in the ledger."""

    def __init__(self, session: aiohttp.ClientSession, urls: tuple[str, str], engine: Engine) -> None:
        self.session = session
        self.urls = urls
        self.engine = engine
        self.ledger = Ledger()
        self.warnings: list[tuple[str, str, str]] = []
        """Tenant, measure and window of each warning that came with an answer."""
        self._number = 0

    def script(self, **what: Any) -> Script:
        self._number += 1
        return Script(self._number, **what)

    def entry(self, caller: Caller, route: str, **facts: Any) -> Entry:
        """Writes down a request that is about to be sent."""
        facts = {"key": caller.key, **facts}
        made = Entry(f"accountant-{len(self.ledger)}", route, caller.tenant, caller.user, sent_at=time.time(), **facts)
        self.ledger.entries.append(made)
        return made

    async def send(
        self,
        entry: Entry,
        caller: Caller,
        body: object = None,
        *,
        gateway: int = 0,
        method: str = "",
        path: str = "",
        headers: dict[str, str] | None = None,
        on_data: Callable[[bytes], None] = lambda data: None,
    ) -> bytes:
        """Sends it and returns what came; writes down status, code, and whether a stream began."""
        given = {"x-request-id": entry.id, **(headers or {})}
        if caller.key:
            given["authorization"] = f"Bearer {caller.key}"
        url = self.urls[gateway] + (path or entry.route)
        entry.method = method = method or ("GET" if body is None else "POST")
        data = b""
        try:
            async with self.session.request(method, url, json=body, headers=given) as response:
                entry.status = response.status
                entry.streamed = response.headers["content-type"].startswith("text/event-stream")
                if warning := response.headers.get("headrace-quota-warning"):
                    for each in warning.split(", "):
                        _, window, measure = each.split()[:3]
                        self.warnings.append((str(caller.tenant), measure, window))
                async for piece in response.content.iter_any():
                    data += piece
                    on_data(data)
        finally:
            entry.ended_at = time.time()
        entry.code, entry.outcome = _end_of(response.status, data, streamed=entry.streamed)
        return data

    async def ask(
        self,
        caller: Caller,
        model: str,
        script: Script,
        *,
        route: str = CHAT,
        stream: bool = False,
        choices: int = 1,
        gateway: int = 0,
        **more: Any,
    ) -> Entry:
        """Asks a model or an assistant, and writes down who answered and what it read and wrote."""
        entry = self.question(caller, model, script, route, stream=stream)
        heard = Heard(lambda: self.engine.release(script.number) if script.breaks else None)
        asked = body_of(route, model, script, stream=stream, choices=choices)
        data = await self.send(entry, caller, asked, gateway=gateway, on_data=heard, **more)
        self.answered(entry, script, heard)
        if entry.outcome == "ok":
            entry.read, entry.written = script.reads, script.writes * choices
            entry.captured = "completed" if script.ends == "stop" else script.ends
            entry.answer, entry.finish_reason = _end_said(data, streamed=entry.streamed)
        return entry

    def question(self, caller: Caller, model: str, script: Script, route: str, *, stream: bool) -> Entry:
        """Writes down a request to a model that exists."""
        assistant = model if model in (CLERK, READER) else None
        served = SMALL if assistant else NOBODY if model in (ALIAS, RELEASED) else model
        facts = {"asked": model, "served": served, "assistant": assistant, "wants_stream": stream}
        return self.entry(caller, route, charged=True, **facts)

    def answered(self, entry: Entry, script: Script, heard: Heard) -> None:
        """Writes down which model was asked, and how long its first token took, by what the engine saw."""
        if works := self.engine.works.get(script.number):
            assert len(works) == 1, f"{entry.id}: the engine was asked {len(works)} times"
            entry.served = works[0].model
            if heard.first_s is not None and works[0].first_at is not None:
                entry.first_token_s = (works[0].first_at - works[0].asked_at, heard.first_s)
            if not entry.wants_stream and works[0].ended_at is not None:
                entry.generated_s = works[0].ended_at - works[0].asked_at

    async def hang_up(
        self,
        caller: Caller,
        model: str,
        script: Script,
        *,
        stream: bool = True,
        queued: Callable[[], object] | None = None,
        gateway: int = 0,
    ) -> Entry:
        """Asks and hangs up where the script holds; or, with `queued`, once that is true and the engine knows nothing.

        It returns when the gateway has let go of the engine, so that nobody hears what it would have said.
        """
        entry = self.question(caller, model, script, CHAT, stream=stream)
        heard = Heard()
        asked = body_of(CHAT, model, script, stream=stream)
        sending = asyncio.create_task(self.send(entry, caller, asked, gateway=gateway, on_data=heard))
        if queued is not None:
            await until(queued, "the request waits")
        else:
            await until(lambda: script.number in self.engine.holding, "the engine holds the request")
            enough = {"middle": script.writes // 2, "end": script.writes}.get(script.holds, 0)
            await until(lambda: heard.words >= enough, "what was written has arrived")
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        entry.outcome, entry.code = "cancelled", ""
        self.answered(entry, script, heard)
        if queued is None:
            entry.captured = "cancelled"
            await until(lambda: script.number not in self.engine.holding, "the gateway lets go of the engine")
        return entry

    async def hold(self, caller: Caller, count: int, *, gateway: int = 0) -> Callable[[], Any]:
        """Fills places by requests that the engine holds. Returns what lets them end."""
        scripts = [self.script(holds="first") for _ in range(count)]
        asking = [asyncio.create_task(self.ask(caller, SMALL, each, gateway=gateway)) for each in scripts]
        await until(lambda: all(each.number in self.engine.holding for each in scripts), "the places are taken")

        async def end() -> None:
            for each in scripts:
                self.engine.release(each.number)
            await asyncio.gather(*asking)

        return end


def body_of(route: str, model: str, script: Script, *, stream: bool, choices: int = 1) -> dict[str, Any]:
    """Returns the body of a request to a model."""
    body: dict[str, Any] = {"model": model, "stream": stream}
    if choices > 1:
        body["n"] = choices
    if route == RESPONSES:
        return {**body, "input": script.text()}
    if route == COMPLETIONS:
        return {**body, "prompt": script.text()}
    return {**body, "messages": [{"role": "user", "content": script.text()}]}


def _end_of(status: int, data: bytes, *, streamed: bool) -> tuple[str, Any]:
    """Returns the error code of an answer, and its outcome as its caller sees it."""
    if streamed:
        errors = [frame["error"]["code"] for frame in _frames(data) if frame.get("error")]
        return (errors[0], "error") if errors else ("", "ok")
    if status < 400:
        return "", "ok"
    return json.loads(data)["error"]["code"], "refused" if status < 500 else "error"


def _frames(data: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix(b"data: ") for line in data.splitlines() if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


def _end_said(data: bytes, *, streamed: bool) -> tuple[str, str | None]:
    """Returns the id of an answer, and how its first choice ended: a response that is complete has stopped."""
    frames = _frames(data) if streamed else [json.loads(data)]
    documents = [frame.get("response", frame) for frame in frames]
    ids = [document["id"] for document in documents if "id" in document]
    ends = [c["finish_reason"] for each in documents for c in each.get("choices", ()) if c["index"] == 0]
    ends += ["stop"] * any(document.get("status") == "completed" for document in documents)
    return ids[0], next(filter(None, ends), None)
