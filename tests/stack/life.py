"""Helpers for a stack on this host: its processes, its documents, searches, and a stream in progress."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from infra.providers.session import Session, Stat
from infra.targets.preflight import SESSION_RECORDS
from tests.stacks.stack import Stack
from tests.wait import eventually

WORDS = 25
"""Of a stream under way: at a word a second it outlasts what `up` changes in place."""


def members(stack: Stack) -> dict[int, Stat]:
    """Returns every process of the stack, by its id."""
    return {m.pid: m for r in SESSION_RECORDS for m in Session(stack.layout.record(r)).members()}


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def replicas(stack: Stack) -> set[int]:
    """Process ids of Serve's replicas, its controller and proxies."""
    return {pid for pid in members(stack) if command(pid).startswith(("ray::Serve", "ray::Proxy", "ray::HAProxy"))}


def named(stack: Stack, record: str, title: str) -> list[int]:
    """Process ids of one recorded session whose command line has `title` in it."""
    return [m.pid for m in Session(stack.layout.record(record)).members() if title in command(m.pid)]


def collection(stack: Stack) -> str:
    with stack.client() as client:
        return next(s["id"] for s in client.get("/v1/vector_stores").json()["data"] if s["name"] == "documents")


def files(stack: Stack) -> dict[str, str]:
    """The file ids of the collection `documents`, by file name."""
    with stack.client() as client:
        found = client.get(f"/v1/vector_stores/{collection(stack)}/files", params={"limit": 100}).json()["data"]
    return {Path(f["attributes"]["path"]).name: f["id"] for f in found if f["attributes"]}


def search(stack: Stack, query: str) -> str:
    """Returns the hits of the query in the collection `documents`."""
    with stack.client() as client:
        answer = client.post(f"/v1/vector_stores/{collection(stack)}/search", json={"query": query}).json()
    return " ".join(part["text"] for hit in answer["data"] for part in hit["content"])


def gone(stack: Stack, query: str, text: str) -> None:
    """Waits until the index no longer contains the text; it is removed in the background."""
    eventually(lambda: text not in search(stack, query), f"'{text}' is found no more")


def chat(stack: Stack, model: str = "plain") -> httpx.Response:
    with stack.client() as client:
        messages = [{"role": "user", "content": "Name a colour."}]
        return client.post("/v1/chat/completions", json={"model": model, "messages": messages, "max_tokens": 4})


@contextmanager
def streaming(stack: Stack) -> Iterator[list[str]]:
    """A long stream in progress; its text is complete when the context ends."""
    text: list[str] = []
    started = threading.Event()
    messages = [{"role": "user", "content": "Count."}]
    body = {"model": "scripted", "messages": messages, "max_tokens": WORDS, "stream": True}

    def read() -> None:
        with stack.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as r:
            for part in r.iter_text():
                text.append(part)
                started.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert started.wait(60)
    yield text
    thread.join(180)
