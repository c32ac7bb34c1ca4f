"""Choices that are asked for one after the other, where one of the requests fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import orjson
import pytest

from serving.engines import sequential_choices
from serving.engines.client import EngineClient
from serving.engines.endpoint import Endpoint
from serving.engines.sse import DONE, FrameError, encode
from serving.protocol.errors import ApiError, EngineLost, EngineRefused, may_have_worked, rate_limited

SLOT = Endpoint("http://127.0.0.1:1/v1", "m", {}, tokenizer="llamacpp", beside={"id_slot": 2})
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
GONE = EngineLost("gone", asked=False)


class Body:
    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.content = self

    async def readany(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def read(self, most: int) -> bytes:
        return await self.readany()


class Engine:
    """Gives the answers in their order; an error is raised in its place."""

    def __init__(self, *answers: bytes | ApiError) -> None:
        self._answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    @asynccontextmanager
    async def post(self, endpoint: Endpoint, path: str, document: dict[str, Any]) -> AsyncIterator[Body]:
        self.asked.append(document)
        answer = self._answers.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        yield Body(answer)


def whole(text: str, **more: object) -> bytes:
    return orjson.dumps({"choices": [{"index": 0, "text": text}], "usage": USAGE, **more})


def stream(text: str, *, end: bool = True) -> bytes:
    return encode({"choices": [{"index": 0, "text": text}]}) + (b"data: " + DONE + b"\n\n" if end else b"")


async def ask(engine: Engine, **more: object) -> dict[str, Any]:
    return await sequential_choices.complete_answer(
        cast(EngineClient, engine), SLOT, "/completions", {"prompt": "a", "n": 2, **more}
    )


async def read(engine: Engine) -> list[bytes]:
    found = []
    async with sequential_choices.stream(
        cast(EngineClient, engine), SLOT, "/completions", {"prompt": "a", "n": 2}
    ) as response:
        while piece := await response.content.readany():
            found.append(piece)
    return found


async def test_usage_is_summed() -> None:
    answer = await ask(Engine(whole("x"), whole("y")))
    assert [(c["index"], c["text"]) for c in answer["choices"]] == [(0, "x"), (1, "y")]
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}


async def test_missing_usage_makes_the_sum_unknown() -> None:
    assert (await ask(Engine(whole("x"), whole("y", usage=None))))["usage"] is None


@pytest.mark.parametrize(("seed", "asked"), [(7, [7, 8]), (-1, [-1, -1]), (2**31, [2**31] * 2)])
async def test_random_seeds_are_kept(seed: int, asked: list[int]) -> None:
    engine = Engine(whole("x"), whole("y"))
    await ask(engine, seed=seed)
    assert [each["seed"] for each in engine.asked] == asked
    assert not any("n" in each for each in engine.asked)


@pytest.mark.parametrize("failure", [GONE, EngineRefused("no"), rate_limited("rate_limit_exceeded", "busy", {})])
async def test_choices_before_a_failure_were_work(failure: ApiError) -> None:
    """Or whoever is not answered whole would not be charged for what the engine did."""
    with pytest.raises(type(failure)) as first:
        await ask(Engine(failure))
    assert not may_have_worked(first.value)
    with pytest.raises(ApiError) as later:
        await ask(Engine(whole("x"), failure))
    assert may_have_worked(later.value)
    assert isinstance(later.value, EngineLost) == (failure is GONE)  # another replica is asked


async def test_a_stream_that_breaks_off_between_two_choices_has_no_end() -> None:
    with pytest.raises(EngineLost):
        await read(Engine(GONE))
    with pytest.raises(FrameError, match="choice 1: gone"):
        await read(Engine(stream("x"), GONE))
    assert await read(Engine(stream("x", end=False))) == [stream("x", end=False)]
    *_, last = await read(Engine(stream("x"), stream("y")))
    assert last == b"data: " + DONE + b"\n\n"
