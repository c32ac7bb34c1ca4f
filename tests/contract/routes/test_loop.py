"""No text holds the event loop of a gateway or of retrieval: both are in this process, and have one loop.

How long the loop stood still is told by the processor time of the process between two of its turns, which a busy host
hardly lengthens. It may be as much as some passes over the longest text take. What stands still does so each time.
"""

from __future__ import annotations

import asyncio
import io
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import httpx
import pytest

from serving.config import Limits
from tests.contract.running import Gateway
from tests.wait import eventually

pytestmark = pytest.mark.full

LONGEST = Limits().characters
PASSES = 6
"""Passes over the longest text, in Python, for which the loop may stand still."""
TRIES = 3
"""Other threads of the process may have a busy host's processors once, or twice."""

Send = Callable[[httpx.Client], httpx.Response]


def of(unit: str, length: int = LONGEST) -> str:
    return unit * (length // len(unit))


def said(model: str, text: str) -> Send:
    return lambda client: client.post(
        "/v1/chat/completions", json={"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 1}
    )


def put(path: str, **body: Any) -> Send:
    return lambda client: client.post(path, json=body)


def uploaded(name: str, data: bytes) -> Send:
    return lambda client: client.post("/v1/files", files={"file": (name, data)}, data={"purpose": "assistants"})


def archive(entries: int) -> bytes:
    """A ZIP archive whose directory repeats its one entry."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("a", "")
    one = buffer.getvalue()
    at = one.index(b"PK\x01\x02")
    entry, end = one[at:-22], one[-22:]
    return one[:at] + entry * entries + end[:12] + (len(entry) * entries).to_bytes(4, "little") + end[16:]


def searched(query: str) -> Send:
    def send(client: httpx.Client) -> httpx.Response:
        (store,) = (s for s in client.get("/v1/vector_stores").json()["data"] if s["name"] == "docs")
        return client.post(f"/v1/vector_stores/{store['id']}/search", json={"query": query})

    return send


def ingested(name: str, data: bytes) -> Send:
    def send(client: httpx.Client) -> httpx.Response:
        file = uploaded(name, data)(client).json()["id"]
        store = client.post("/v1/vector_stores", json={"name": "loop", "file_ids": [file]}).json()["id"]
        path = f"/v1/vector_stores/{store}/files/{file}"
        eventually(lambda: client.get(path).json()["status"] != "in_progress", "the document is read")
        answer = client.get(path)
        client.delete(f"/v1/vector_stores/{store}")
        return answer

    return send


# A text to embed takes the tokenizer long and is few tokens: the model would read 200,000 for 100 s, beside the loop.
ITEM = {"type": "message", "role": "user", "content": of("[a](")}
SENT: dict[str, Send] = {
    "a chat": said("ticker", of("not ")),
    "a chat of combining marks": said("ticker", of("a\u0301")),
    "a question to documents": said("docs", of("not ", 60_000)),
    "a quoted question": said("docs", '"' + of('"a b" ', 60_000) + '"'),
    "a response": put("/v1/responses", model="ticker", input=of("e.g. "), max_output_tokens=16),
    "a message": put(
        "/v1/messages", model="ticker", messages=[{"role": "user", "content": of("e.g. ")}], max_tokens=16
    ),
    "a question to a tool": put(
        "/mcp",
        jsonrpc="2.0",
        id=1,
        method="tools/call",
        params={"name": "ask", "arguments": {"model": "ticker", "question": of("e.g. "), "max_tokens": 16}},
    ),
    "a completion": put("/v1/completions", model="ticker", prompt=of("```"), max_tokens=1),
    "a conversation": put("/v1/conversations", items=[ITEM]),
    "a text to embed": put("/v1/embeddings", model="all-minilm-l6-v2", input="a" + "\u2003" * 1_000_000),
    "a search": searched(of("n't ", 8192)),
    "a memory": put("/v1/memories", assistant="friend", text=of("1,", 500)),
    "an upload of comments": uploaded("a.txt", b"<!---->" * 23 + b"x"),
    "an upload of comments without an end": uploaded("a.md", b"<!--" * 1_000_000),
    "an upload of spaces": uploaded("a.html", b"<a " + b" " * 8_000_000),
    "an upload of entries": uploaded("a.docx", archive(272_000)),
    "a document of wide spaces": ingested("a.txt", ("a" + "\u2003" * 25_000 + "b").encode()),
}


@pytest.fixture(scope="module")
def client(whole: Gateway) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {whole.key}"}
    with httpx.Client(base_url=whole.url, headers=headers, timeout=120) as made:
        yield made


@pytest.fixture(scope="module")
def allowed() -> float:
    """Seconds of processor time for which the loop may stand still."""
    text = of("a ")
    began = time.thread_time()
    assert sum(character == "a" for character in text) == LONGEST // 2
    return PASSES * (time.thread_time() - began)


async def _turns(gaps: list[float]) -> None:
    while True:
        began = time.process_time()
        await asyncio.sleep(0.005)
        gaps.append(time.process_time() - began)


def longest_gap(whole: Gateway, work: Callable[[], object]) -> float:
    """Returns the most processor time between two turns of the loop while `work` is done."""
    gaps: list[float] = []
    turning: Future[None] = asyncio.run_coroutine_threadsafe(_turns(gaps), whole.loop.loop)
    try:
        work()
        seen = len(gaps)
        eventually(lambda: len(gaps) > seen + 1, "the loop turns")
    finally:
        turning.cancel()
    return max(gaps)


@pytest.mark.parametrize("name", SENT)
def test_no_text_blocks_the_event_loop(whole: Gateway, client: httpx.Client, allowed: float, name: str) -> None:
    gaps: list[float] = []
    answers: list[httpx.Response] = []
    while len(gaps) < TRIES and not any(gap < allowed for gap in gaps):
        gaps.append(longest_gap(whole, lambda: answers.append(SENT[name](client))))
        assert answers[-1].status_code != 500, answers[-1].text[:300]
    assert min(gaps) < allowed, f"the loop stood still for {min(gaps):.2f} s of processor time, each time"


def test_a_blocked_event_loop_is_detected(whole: Gateway, allowed: float) -> None:
    async def hold() -> None:
        until = time.thread_time() + 1.2 * allowed
        while time.thread_time() < until:
            pass

    assert longest_gap(whole, lambda: whole.loop.do(hold())) > allowed
