"""An engine that embeds and ranks by the words of a text, as an application to serve."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Any

import numpy as np
from aiohttp import web

DIMENSIONS = 64


class PoolingEngine:
    """Answers `/v1/embeddings` and `/v1/rerank`, with an error where `status` is not 200; keeps what it was asked.

    With `hangs` it never answers.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.status = 200
        self.hangs = False
        self.dimensions = DIMENSIONS

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_post("/v1/rerank", self._rerank)
        return app

    async def _embed(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if self.status != 200:
            return web.json_response({"error": {"message": "out of order"}}, status=self.status)
        data = [
            {"object": "embedding", "index": at, "embedding": vector_of(text, self.dimensions)}
            for at, text in enumerate(body["input"])
        ]
        tokens = sum(len(text.split()) for text in body["input"])
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return web.json_response({"object": "list", "data": data[::-1], "usage": usage})

    async def _rerank(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if self.status != 200:
            return web.json_response({"error": {"message": "out of order"}}, status=self.status)
        asked = set(body["query"].lower().split())
        results = [
            {"index": at, "relevance_score": float(len(asked & set(text.lower().split())))}
            for at, text in enumerate(body["documents"])
        ]
        results.sort(key=lambda result: -result["relevance_score"])
        return web.json_response({"results": results, "usage": {"total_tokens": 7}})

    async def _body(self, request: web.Request) -> dict[str, Any]:
        body: dict[str, Any] = await request.json()
        self.asked.append({**body, "authorization": request.headers.get("Authorization")})
        if self.hangs:
            await asyncio.Event().wait()
        return body


def vector_of(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """Returns the sum of a direction for each word."""
    total = np.full(dimensions, 1e-3)
    for word in re.findall(r"\w+", text.lower()):
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        total += np.random.default_rng(seed).standard_normal(dimensions)
    return [float(value) for value in total]
