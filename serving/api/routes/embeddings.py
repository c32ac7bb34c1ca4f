"""`POST /v1/embeddings`: the vectors that retrieval itself uses."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.http_error import HttpError
from serving.api.services import Services
from serving.inference.charging import charged
from serving.inference.exchange import Exchange
from serving.metering.counters import count_tokens
from serving.protocol.errors import invalid, no_model
from serving.protocol.vector_stores import EmbeddingRequest

MARKS = 2
"""Tokens that an embedder puts around each text."""


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Embeds one or more texts."""
    body = await read_json(request, EmbeddingRequest, s.limits)
    if body.model != s.retrieval.embedder:
        if s.catalog.current.router.resolve(body.model, x.caller) is None:
            raise no_model()
        raise HttpError(400, "model_not_found", "This model makes no embeddings.", param="model")
    x.model = body.model
    texts = [body.input] if isinstance(body.input, str) else body.input
    if len(texts) > s.limits.embedding_inputs:
        raise invalid(f"More than {s.limits.embedding_inputs} inputs.", "input")
    if not all(texts):
        raise invalid("An input must not be empty.", "input")
    if sum(map(len, texts)) > s.limits.characters:
        raise invalid(f"The inputs have more than {s.limits.characters} characters.", "input", "too_long")
    x.timeline.end_of("receive")
    async with x.cancelled_by_hang_up(), charged(s.keeper, x) as charge, s.admission.admit(background=x.background):
        x.timeline.end_of("admit")
        await charge.reserve_tokens(sum(len(text.encode(errors="replace")) + MARKS for text in texts))
        with x.timeline.during("retrieve"):
            try:
                vectors, tokens = await s.retrieval.embed_whole(texts)
            except asyncio.CancelledError:
                charge.lose()  # the texts are embedded whether or not somebody waits for them
                raise
        charge.book({"prompt_tokens": tokens, "completion_tokens": 0}, None)
    if body.dimensions is not None and body.dimensions != vectors.shape[1]:
        raise invalid(f"This model has {vectors.shape[1]} dimensions.", "dimensions")
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    x.usage = usage
    count_tokens(x.model, x.caller.tenant, usage)
    data = [
        {"object": "embedding", "index": i, "embedding": _encode(vector, body.encoding_format)}
        for i, vector in enumerate(vectors)
    ]
    return JsonResponse({"object": "list", "model": body.model, "data": data, "usage": usage})


def _encode(vector: np.ndarray[Any, np.dtype[np.float32]], encoding: str) -> Any:
    if encoding == "base64":  # little-endian float32, as OpenAI's SDK decodes it
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.tolist()
