"""Failures of a model's endpoint are counted once, by model and cause."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import REGISTRY

from serving.engines.client import EngineClient, read_answer
from serving.engines.endpoint import Endpoint
from serving.engines.measures import failures
from serving.protocol.errors import ApiError, upstream
from serving.telemetry.failure_causes import FAILURE_CAUSES
from tests.servers.process import held_port

PATH = "/chat/completions"


class Counts:
    """What is counted for a model from now on: other tests of the process may name their models alike."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._before = self._read()

    def _read(self) -> dict[str, float]:
        labelled = {c: {"model": self._model, "cause": c} for c in FAILURE_CAUSES}
        return {c: REGISTRY.get_sample_value("headrace_engine_failures_total", of) or 0 for c, of in labelled.items()}

    def added(self) -> dict[str, float]:
        """Returns what was added by each cause, without zeros."""
        return {c: value - self._before[c] for c, value in self._read().items() if value != self._before[c]}


async def ask(url: str, model: str, **more: float) -> None:
    endpoint, client = Endpoint(url, "theirs", {}, served=model, **more), EngineClient()  # type: ignore[arg-type]
    try:
        async with client.post(endpoint, PATH, {"model": "theirs", "messages": []}) as response:
            await read_answer(response, endpoint)
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (429, "throttled"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (500, "error"),
        (503, "error"),
        (400, None),
        (404, None),
    ],
)
async def test_an_answer_with_a_status_has_a_cause(status: int, cause: str | None) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status)

    application = web.Application()
    application.router.add_post(f"/v1{PATH}", answer)
    counts = Counts(f"status-{status}")
    async with TestServer(application) as server:
        with pytest.raises(ApiError):
            await ask(str(server.make_url("/v1")), f"status-{status}")
    assert counts.added() == ({cause: 1} if cause else {})


@pytest.fixture
def port() -> Iterator[int]:
    with held_port() as one:
        yield one


async def test_nobody_listens(port: int) -> None:
    counts = Counts("away")
    with pytest.raises(ApiError, match="cannot be reached"):
        await ask(f"http://127.0.0.1:{port}/v1", "away")
    assert counts.added() == {"unreachable": 1}


async def test_no_answer_in_time_and_an_answer_that_is_cut_off() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path.startswith("/slow"):
            await asyncio.sleep(60)
        return web.Response(text="{")

    application = web.Application()
    application.router.add_post("/{which}/chat/completions", answer)
    slow, cut = Counts("slow"), Counts("cut")
    async with TestServer(application) as server:
        with pytest.raises(ApiError):
            await ask(str(server.make_url("/slow")), "slow", first_byte_timeout_s=0.05)
        with pytest.raises(ApiError):
            await ask(str(server.make_url("/cut")), "cut")
    assert slow.added() == {"timeout": 1}
    assert cut.added() == {"error": 1}


def test_the_failure_of_a_classifier_is_not_that_of_the_model_around_it() -> None:
    outer, inner = Counts("outer"), Counts("inner")
    with (
        pytest.raises(ApiError),
        failures.counted(Endpoint("http://a", "a", {}, served="outer")),
        failures.counted(Endpoint("http://b", "b", {}, served="inner")),
    ):
        raise upstream("It failed.")
    assert outer.added() == {}
    assert inner.added() == {"error": 1}
