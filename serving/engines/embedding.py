"""Embeds texts with a model behind `/v1/embeddings`, in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.config import Embedding
from serving.core.principal import Principal
from serving.engines.asking import ask, tokens_read
from serving.engines.client import EngineClient
from serving.engines.pool import Engines
from serving.protocol.errors import upstream

INPUTS = 64
"""Texts per request: OpenAI accepts 2,048, other services only this many."""

AT_ONCE = 4
"""Concurrent requests for one caller's texts."""

Vectors = NDArray[np.float32]


async def embed(
    engines: Engines, client: EngineClient, model: str, shape: Embedding, caller: Principal, texts: Sequence[str]
) -> tuple[Vectors, int | None]:
    """Returns unit vectors, float32[n, dimensions], and the number of tokens read, None if it is not reported.

    Raises `ApiError`, also if the vectors do not have the number of dimensions in the model's settings.
    """
    places = asyncio.Semaphore(AT_ONCE)

    async def part(inputs: Sequence[str]) -> tuple[Vectors, int | None]:
        fields = {"input": list(inputs), "encoding_format": "float"}
        async with places:
            answer = await ask(engines, client, model, caller, "/embeddings", fields)
        return _vectors(answer, len(inputs), shape), tokens_read(answer)

    tasks = [asyncio.ensure_future(part(texts[at : at + INPUTS])) for at in range(0, len(texts), INPUTS)]
    try:
        parts = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    counts = [tokens for _, tokens in parts if tokens is not None]
    vectors = np.concatenate([np.zeros((0, shape.dimensions), np.float32), *(found for found, _ in parts)])
    return vectors, sum(counts) if len(counts) == len(parts) else None


def shortened(vectors: Vectors, dimensions: int) -> Vectors:
    """Returns vectors truncated to `dimensions` and normalised, which Matryoshka models allow."""
    beginnings = vectors[:, :dimensions]
    return _unit(beginnings)


def _vectors(answer: dict[str, Any], count: int, shape: Embedding) -> Vectors:
    """Returns the vectors of an answer in the order of its texts. Raises `engine_error`."""
    try:
        placed = {entry["index"]: entry["embedding"] for entry in answer["data"]}
        found = np.asarray([placed[index] for index in range(count)], np.float32)
    except (LookupError, TypeError, ValueError):
        raise upstream("The model's answer is not a vector for each text.") from None
    if found.shape != (count, shape.dimensions):
        there = found.shape[1] if found.ndim == 2 else "no"
        raise upstream(f"The model's vectors have {there} dimensions, not {shape.dimensions} as its settings say.")
    if not np.isfinite(found).all():
        raise upstream("The model's vectors contain values that are not finite numbers.")
    return _unit(found)


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    unit: Vectors = (vectors / lengths).astype(np.float32)
    return unit
