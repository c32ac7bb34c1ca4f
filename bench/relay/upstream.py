"""A scripted OpenAI upstream with as little overhead as possible: every byte that it sends is rendered in advance.

    python -m bench.relay.upstream [--port 9700]

A stream is the role frame, CHUNKS content frames, the finish frame, the usage frame if requested, and
`[DONE]`, in vLLM's compact JSON. Each frame is a separate write in a separate turn of the event loop, so that
streams interleave. The prompt is the script: with `pause 2 ms` in it, the upstream waits that long between frames, as
an engine does between tokens; without it, a stream is a burst, and a relay reads several frames at once.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from typing import Any, cast

import orjson
import uvloop

CHUNKS = 50
PORT = 9700
MODEL = "scripted"
WORDS = tuple(f" word{i}" for i in range(CHUNKS))
TEXT = "".join(WORDS)
USAGE = {"prompt_tokens": 12, "total_tokens": 12 + CHUNKS, "completion_tokens": CHUNKS}

_ID = "chatcmpl-0123456789abcdef0123456789abcdef"
_PAUSE = re.compile(rb"pause (\d+) ms")
_OK = b"HTTP/1.1 200 OK\r\n"


def _frame(choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
    document: dict[str, Any] = {"id": _ID, "object": "chat.completion.chunk", "created": 1760000000, "model": MODEL}
    document["choices"] = choices
    if usage is not None:
        document["usage"] = usage
    return b"data: " + orjson.dumps(document) + b"\n\n"


def _choice(delta: dict[str, str], finish: str | None = None) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _response(body: bytes, status: bytes = _OK) -> bytes:
    return status + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _stream(usage: bool) -> tuple[bytes, ...]:
    head = _OK + b"Content-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    frames = [_frame(_choice({"role": "assistant", "content": ""}))]
    frames += [_frame(_choice({"content": word})) for word in WORDS]
    frames.append(_frame(_choice({}, "stop")))
    if usage:
        frames.append(_frame([], USAGE))
    first, *rest = [_chunked(f) for f in frames]
    return (head + first, *rest, _chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n")


_ANSWER = {
    "id": _ID,
    "object": "chat.completion",
    "created": 1760000000,
    "model": MODEL,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    "usage": USAGE,
}
_STREAMS = {usage: _stream(usage) for usage in (False, True)}
_WHOLE = _response(orjson.dumps(_ANSWER))
_MODELS = _response(orjson.dumps({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "bench"}]}))
_GET = {b"/health": _response(b"{}"), b"/v1/models": _MODELS}
_NOT_FOUND = _response(b'{"error":{"message":"no such route"}}', b"HTTP/1.1 404 Not Found\r\n")
_BAD = _response(b'{"error":{"message":"a JSON body with a length is needed"}}', b"HTTP/1.1 400 Bad Request\r\n")


class Upstream(asyncio.Protocol):
    """One connection. `chunks` truncates every stream after that many frames, to test that clients notice."""

    def __init__(self, chunks: int | None = None) -> None:
        self._pause = 0.0
        self._chunks = chunks
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._next: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._next is not None:
            self._next.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = _length(head)
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        self._answer(head, rest[:length])

    def _answer(self, head: bytes, body: bytes) -> None:
        if self._transport is None:
            return
        method, path, _ = head.split(b" ", 2)
        if method == b"GET":
            self._transport.write(_GET.get(path.partition(b"?")[0], _NOT_FOUND))
        elif path != b"/v1/chat/completions":
            self._transport.write(_NOT_FOUND)
        else:
            self._complete(body)

    def _complete(self, body: bytes) -> None:
        assert self._transport is not None
        try:
            document = orjson.loads(body)
            streamed = bool(document.get("stream"))
            usage = bool((document.get("stream_options") or {}).get("include_usage"))
        except (orjson.JSONDecodeError, AttributeError):
            self._transport.write(_BAD)
            return
        if streamed:
            pause = _PAUSE.search(body)
            self._pause = int(pause[1]) / 1000 if pause else 0.0
            self._send(_STREAMS[usage], 0)
        else:
            self._transport.write(_WHOLE)

    def _send(self, frames: tuple[bytes, ...], at: int) -> None:
        if self._transport is None:
            return
        if at == self._chunks:
            self._transport.close()
            return
        self._transport.write(frames[at])
        at += 1
        if at == len(frames):
            self._next = None
        elif self._pause:
            self._next = self._loop.call_later(self._pause, self._send, frames, at)
        else:
            self._next = self._loop.call_soon(self._send, frames, at)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve(port: int, chunks: int | None = None) -> asyncio.Server:
    """Starts an upstream on 127.0.0.1; port 0 chooses a free one."""
    return await asyncio.get_running_loop().create_server(lambda: Upstream(chunks), "127.0.0.1", port)


async def _main(port: int) -> None:
    async with await serve(port) as server:
        await server.serve_forever()


def main() -> None:
    """Serves until terminated."""
    parser = argparse.ArgumentParser(description="a scripted OpenAI upstream")
    parser.add_argument("--port", type=int, default=PORT)
    uvloop.run(_main(parser.parse_args().port))


if __name__ == "__main__":
    main()
