"""The load generator against the scripted upstream: what is whole counts, what is not is an error."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from bench import load
from bench.relay import upstream


def body(say: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": say}]}


async def drive(
    server: asyncio.Server, requests: int = 6, expected: str | None = upstream.TEXT, say: str = "go"
) -> load.Result:
    port = server.sockets[0].getsockname()[1]
    target = load.Target(f"http://127.0.0.1:{port}/v1", upstream.MODEL)
    async with server:
        return await load.run(target, [body(say)], clients=2, requests=requests, expected=expected, timeout_s=60)


async def test_counts_whole_streams() -> None:
    result = await drive(await upstream.serve(0))
    assert not result.errors
    assert [s.tokens for s in result.streams] == [upstream.CHUNKS] * 6
    assert all(0 < s.first_byte <= s.first_token <= s.total for s in result.streams)


async def test_first_token_is_not_the_role_frame() -> None:
    result = await drive(await upstream.serve(0), requests=2, say="pause 2 ms")
    assert all(s.first_token > s.first_byte for s in result.streams)


@pytest.mark.parametrize("chunks", [1, 30, upstream.CHUNKS + 3])
async def test_a_truncated_stream_is_an_error(chunks: int) -> None:
    result = await drive(await upstream.serve(0, chunks=chunks))
    assert not result.streams
    assert result.errors == {"connection closed in the answer": 6}


async def test_another_text_is_an_error() -> None:
    result = await drive(await upstream.serve(0), expected=upstream.TEXT + "!")
    assert not result.streams
    assert result.errors == {"unexpected text": 6}


async def test_a_dead_target_ends_the_load() -> None:
    server = await upstream.serve(0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    result = await load.run(load.Target(f"http://127.0.0.1:{port}/v1", "m"), [body("go")], clients=1, seconds=30)
    assert not result.streams
    assert result.errors == {"ConnectionRefusedError": load.MAX_ERRORS_IN_A_ROW}


CONTENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
FINISH = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (CONTENT + FINISH, "no [DONE]"),
        (CONTENT + DONE, "no finish reason"),
        (CONTENT + FINISH + DONE + CONTENT, "frames after [DONE]"),
        (CONTENT + CONTENT + FINISH + DONE, "unexpected text"),
        (FINISH + DONE, "unexpected text"),
        (CONTENT + b'data: {"error":{"message":"x"}}\n\n' + FINISH + DONE, "an error frame"),
        (CONTENT + b"data: {\n\n" + FINISH + DONE, "a frame is not JSON"),
    ],
)
def test_incomplete_streams_are_errors(body: bytes, why: str) -> None:
    with pytest.raises(load.StreamError, match=why.replace("[", r"\[").replace("]", r"\]")):
        load.validate_stream(body, "a")


def test_both_line_ends_are_read() -> None:
    assert load.validate_stream((CONTENT + FINISH + DONE).replace(b"\n", b"\r\n"), "a") == 0


async def test_the_upstream_answers_whole_and_lists_its_model() -> None:
    server = await upstream.serve(0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, httpx.AsyncClient(trust_env=False) as client:
        answer = (await client.post(f"{url}/v1/chat/completions", json=body("go"))).json()
        assert answer["choices"][0]["message"]["content"] == upstream.TEXT
        assert (await client.get(f"{url}/v1/models")).json()["data"][0]["id"] == upstream.MODEL
        assert (await client.get(f"{url}/health")).status_code == 200
        assert (await client.post(f"{url}/v1/chat/completions", content=b"{")).status_code == 400
