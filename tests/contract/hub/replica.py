"""A replica with adapters, whose engine answers as scripted."""

from __future__ import annotations

from typing import Any

from aiohttp import web

WHOLE = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class Replica:
    """A replica that has every adapter, one at a time: the scale says whether a lease is for one."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[dict[str, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        return web.json_response(WHOLE)

    @property
    def lease(self) -> Replica:
        return self

    def options(self, *, stream: bool) -> Replica:
        assert stream
        return self

    def remote(self, owner: str, user: str, adapter: str | None = None) -> _Lease:
        return _Lease(self.url, adapter)


class _Lease:
    def __init__(self, url: str, adapter: str | None) -> None:
        self._granted = {"url": url, "key": "k", "slot": 1, "lora": [{"id": 0, "scale": int(adapter is not None)}]}

    async def __anext__(self) -> dict[str, Any]:
        return self._granted

    def cancel(self) -> None:
        return
