"""Requests several choices from a llama.cpp replica one after the other.

Given one request for all choices, llama.cpp computes each in any slot, even one leased to somebody else, which it
clears. A lease is for one slot, so each choice is a separate request to it, whose prompt is read from the cache.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from serving.engines import choices_usage
from serving.engines.client import EngineClient, EngineResponse, read_answer
from serving.engines.endpoint import Endpoint
from serving.engines.sse import DONE, FrameError, Splitter, decode, encode, payload
from serving.protocol.errors import ApiError, EngineLost, upstream

SEEDS = 2**31
"""With a seed from 0 to below this, each choice gets the next seed, as in llama.cpp; other seeds mean
random sampling.
"""


def needed(endpoint: Endpoint, document: dict[str, Any]) -> bool:
    """Returns whether the choices of a request must be requested one after the other."""
    return "id_slot" in endpoint.beside and (document.get("n") or 1) > 1


async def complete_answer(
    client: EngineClient, endpoint: Endpoint, path: str, document: dict[str, Any]
) -> dict[str, Any]:
    """Returns the answer with all choices, and the `usage` of all.

    Raises `ApiError`: after the first choice, one that tells that the engine may have done work.
    """
    answer: dict[str, Any] = {}
    choices: list[dict[str, Any]] = []
    reports: list[choices_usage.Usage] = []
    for number in range(document["n"]):
        asked = _single_choice(document, number)
        try:
            async with client.post(endpoint, path, asked) as response:
                said = await read_answer(response, endpoint)
        except EngineLost as e:
            raise EngineLost(e.message, asked=e.asked or number > 0) from None
        except ApiError:
            if number == 0:
                raise
            raise upstream("The model failed before its last choice.") from None
        given, usage = said.get("choices"), said.get("usage")
        if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
            raise upstream("The model's answer has no choices.")
        choices += [_numbered(each, number, document["n"]) for each in given]
        usage = usage if isinstance(usage, dict) else {}
        reports.append(await choices_usage.usage_of_answer(client, endpoint, asked, given, usage))
        answer = answer or said
    answer["choices"] = sorted(choices, key=lambda each: each["index"])
    answer["usage"] = choices_usage.usage_of_reports(reports, document, choices, whole=True) or None
    return answer


@asynccontextmanager
async def stream(
    client: EngineClient, endpoint: Endpoint, path: str, document: dict[str, Any]
) -> AsyncIterator[EngineResponse]:
    """Yields one stream with all choices; raises what `EngineClient.post` raises before the first one."""
    async with aclosing(_frames(client, endpoint, path, document)) as frames:
        yield _Streams(frames)


class _Streams:
    """Has the reading interface of a response's body."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces

    @property
    def content(self) -> _Streams:
        return self

    async def readany(self) -> bytes:
        return await anext(self._pieces, b"")


async def _frames(
    client: EngineClient, endpoint: Endpoint, path: str, document: dict[str, Any]
) -> AsyncGenerator[bytes, None]:
    begun = False
    for number in range(document["n"]):
        splitter, done = Splitter(), False
        try:
            async with client.post(endpoint, path, _single_choice(document, number)) as response:
                while piece := await response.content.readany():
                    out = b""
                    for data in map(payload, splitter.feed(piece)):
                        if data == DONE:
                            done = True
                        elif data is not None:
                            out += _relayed(data, number, document["n"])
                    if out:
                        begun = True
                        yield out
        except ApiError as e:
            if not begun:
                raise
            raise FrameError(f"choice {number}: {e.message}") from None
        if not done:
            return  # without an end mark, the reader sees that the stream was truncated
    yield b"data: " + DONE + b"\n\n"


def _relayed(data: bytes, number: int, of: int) -> bytes:
    document = decode(data)
    choices = document.get("choices")
    if isinstance(choices, list):
        document["choices"] = [_numbered(each, number, of) if isinstance(each, dict) else each for each in choices]
    return encode(document)


def _numbered(choice: dict[str, Any], number: int, of: int) -> dict[str, Any]:
    """Returns a choice with its number among all choices, which are grouped by prompt."""
    index = choice.get("index", 0)
    return {**choice, "index": (index if isinstance(index, int) else 0) * of + number}


def _single_choice(document: dict[str, Any], number: int) -> dict[str, Any]:
    asked = {name: value for name, value in document.items() if name != "n"}
    seed = document.get("seed")
    if isinstance(seed, int) and 0 <= seed < SEEDS:
        asked["seed"] = seed + number
    return asked
