"""A closed-loop load generator for streamed chat completions: N clients, each with one keep-alive connection.

A stream counts only if it is complete: status 200, every frame parses, a finish reason, `[DONE]` last, the HTTP
body ended, and the expected text. Anything else is an error, counted by its message.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import orjson

MAX_ERRORS_IN_A_ROW = 50
_TOKEN = re.compile(rb'"content": ?"[^"]')


class StreamError(Exception):
    """A stream is incomplete or wrong; the message is the same for the same cause."""


@dataclass(frozen=True, slots=True)
class Target:
    """The endpoint and model under load; `url` includes the version (`http://127.0.0.1:8080/v1`)."""

    url: str
    model: str
    key: str = field(default="", repr=False)

    def request(self, document: dict[str, Any]) -> bytes:
        """Returns the bytes of a streamed chat request; `document` adds or replaces fields."""
        base: dict[str, Any] = {"model": self.model, "stream": True, "stream_options": {"include_usage": True}}
        body = orjson.dumps(base | document)
        parts = urlsplit(self.url)
        head = (
            f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Authorization: Bearer {self.key}\r\nContent-Type: application/json\r\n"
            f"Accept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(slots=True)
class Stream:
    """One complete stream; times are seconds since its request was sent."""

    first_byte: float
    first_token: float
    total: float
    tokens: int


@dataclass(slots=True)
class Result:
    """The streams and errors of one load."""

    clients: int
    seconds: float = 0.0
    streams: list[Stream] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def streams_per_second(self) -> float:
        return len(self.streams) / self.seconds

    def summary(self) -> dict[str, Any]:
        """Returns the figures; times are in milliseconds."""
        figures: dict[str, Any] = {
            "clients": self.clients,
            "seconds": round(self.seconds, 2),
            "streams": len(self.streams),
            "errors": dict(self.errors),
            "streams_per_s": round(self.streams_per_second, 1),
        }
        for name in ("first_byte", "first_token", "total"):
            times = sorted(getattr(s, name) for s in self.streams)
            for percent in (50, 99):
                figures[f"{name}_p{percent}_ms"] = round(1000 * quantile(times, percent / 100), 2)
        return figures


def quantile(ordered: Sequence[float], q: float) -> float:
    """Returns the nearest-rank quantile; NaN of an empty sequence."""
    return ordered[max(math.ceil(q * len(ordered)), 1) - 1] if ordered else float("nan")


def validate_stream(body: bytes, expected: str | None) -> int:
    """Returns the completion tokens of a complete event stream; raises `StreamError` for any other."""
    texts: list[str] = []
    finished = done = False
    tokens = 0
    for frame in body.replace(b"\r\n", b"\n").split(b"\n\n"):
        if not frame.startswith(b"data:"):
            continue
        data = frame[5:].strip()
        if done:
            raise StreamError("frames after [DONE]")
        if data == b"[DONE]":
            done = True
            continue
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise StreamError("a frame is not JSON") from None
        if document.get("error"):
            raise StreamError("an error frame")
        tokens = (document.get("usage") or {}).get("completion_tokens") or tokens
        for choice in document.get("choices") or ():
            texts.append((choice.get("delta") or {}).get("content") or "")
            finished = finished or bool(choice.get("finish_reason"))
    if not done:
        raise StreamError("no [DONE]")
    if not finished:
        raise StreamError("no finish reason")
    if expected is not None and "".join(texts) != expected:
        raise StreamError("unexpected text")
    return tokens


class Client(asyncio.Protocol):
    """A keep-alive HTTP/1.1 connection with at most one request in progress."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Stream] | None = None
        self._expected: str | None = None
        self._started = 0.0
        self._reset()

    def _reset(self) -> None:
        self._raw = bytearray()
        self._body = bytearray()
        self._at = -1
        self._first_byte = self._first_token = 0.0

    @property
    def usable(self) -> bool:
        """Whether the connection can carry another request."""
        return self._transport is not None and not self._transport.is_closing()

    async def stream(self, request: bytes, expected: str | None) -> Stream:
        """Sends a request and returns its complete stream; else closes the connection and raises `StreamError`."""
        if self._transport is None:
            raise StreamError("connection closed")
        self._reset()
        self._expected = expected
        self._waiter = asyncio.get_running_loop().create_future()
        self._started = time.perf_counter()
        self._transport.write(request)
        try:
            return await self._waiter
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail("connection closed in the answer")

    def _fail(self, why: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(StreamError(why))

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._raw += data
        try:
            if self._at < 0 and not self._head():
                return
            ended = self._chunks()
        except StreamError as e:
            self._fail(str(e))
            return
        except ValueError:
            self._fail("not HTTP")
            return
        if not self._first_byte and self._body:
            self._first_byte = now - self._started
        if not self._first_token and _TOKEN.search(self._body):
            self._first_token = now - self._started
        if ended:
            self._end(now)

    def _head(self) -> bool:
        end = self._raw.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._raw[:end]).lower()
        status = head.split(b" ", 2)[1]
        if status != b"200":
            raise StreamError(f"status {status.decode()}")
        if b"transfer-encoding: chunked" not in head:
            raise StreamError("the answer is not chunked")
        self._at = end + 4
        return True

    def _chunks(self) -> bool:
        """Appends complete chunks to the body; returns whether the last chunk was among them."""
        raw = self._raw
        while (line := raw.find(b"\r\n", self._at)) >= 0:
            size = int(raw[self._at : line], 16)
            end = line + 2 + size
            if len(raw) < end + 2:
                return False
            if not size:
                return True
            self._body += raw[line + 2 : end]
            self._at = end + 2
        return False

    def _end(self, now: float) -> None:
        if self._waiter is None or self._waiter.done():
            return
        try:
            tokens = validate_stream(bytes(self._body), self._expected)
        except StreamError as e:
            self._fail(str(e))
            return
        self._waiter.set_result(Stream(self._first_byte, self._first_token, now - self._started, tokens))


async def run(
    target: Target,
    documents: Sequence[dict[str, Any]],
    *,
    clients: int,
    seconds: float | None = None,
    requests: int | None = None,
    expected: str | None = None,
    timeout_s: float = 60.0,
    keep: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """Loads `target` until `seconds` have passed or `requests` were sent, whichever comes first.

    The clients cycle through `documents`. A request is cancelled after
    `timeout_s`; a client stops after MAX_ERRORS_IN_A_ROW consecutive errors. Streams in progress at the end are
    completed and counted, with their full duration. Without `keep` every request has its own connection.
    `progress` is called for every finished request.
    """
    if seconds is None and requests is None:
        raise ValueError("give `seconds` or `requests`, or the load would never end")
    rendered = [target.request(d) for d in documents]
    result = Result(clients)
    numbers = itertools.count() if requests is None else iter(range(requests))
    started = time.perf_counter()
    end = started + seconds if seconds is not None else float("inf")

    async def loop() -> None:
        client, failed = Client(), 0
        for number in numbers:
            if time.perf_counter() >= end or failed >= MAX_ERRORS_IN_A_ROW:
                break
            try:
                async with asyncio.timeout(timeout_s):
                    client = client if keep and client.usable else await _connect(target)
                    result.streams.append(await client.stream(rendered[number % len(rendered)], expected))
                failed = 0
            except (StreamError, OSError, TimeoutError) as e:
                result.errors[str(e) if isinstance(e, StreamError) else type(e).__name__] += 1
                failed += 1
            if not keep:
                client.close()
            if progress is not None:
                progress(number + 1)
        client.close()

    await asyncio.gather(*(loop() for _ in range(clients)))
    result.seconds = time.perf_counter() - started
    return result


async def _connect(target: Target) -> Client:
    parts = urlsplit(target.url)
    if parts.hostname not in ("127.0.0.1", "localhost"):
        raise ValueError("the load generator only loads this host")
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", parts.port or 80)
    return client
