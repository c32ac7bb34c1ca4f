"""`POST /v1/embeddings`: vectors from configured models, and from retrieval's local embedders."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.services import Services
from serving.config import Embedding
from serving.engines.embedding import Vectors, embed, shortened
from serving.engines.router import Route
from serving.inference.exchange import Exchange
from serving.inference.reading import reading, tokens_at_most
from serving.protocol.errors import invalid, no_model, wrong_task
from serving.protocol.vector_stores import EmbeddingRequest


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Embeds one or more texts."""
    body = await read_json(request, EmbeddingRequest, s.limits, drop_unsupported=s.config.drop_unsupported_params)
    route = _route(s, body, x)
    x.model = body.model
    x.served = route.served if route is not None else body.model
    texts = [body.input] if isinstance(body.input, str) else body.input
    if len(texts) > s.limits.embedding_inputs:
        raise invalid(f"More than {s.limits.embedding_inputs} inputs.", "input")
    if not all(texts):
        raise invalid("An input must not be empty.", "input")
    if sum(map(len, texts)) > s.limits.characters:
        raise invalid(f"The inputs have more than {s.limits.characters} characters.", "input", "too_long")
    x.timeline.end_of("receive")
    price = route.price if route is not None else None
    async with reading(s.keeper, s.admission, x, tokens_at_most(texts), price) as charge:
        vectors, tokens = await _embed(s, x, route, texts)
        charge.read(tokens)
    if body.dimensions is not None and body.dimensions != vectors.shape[1]:
        vectors = _shortened(vectors, body.dimensions, route)
    data = [
        {"object": "embedding", "index": i, "embedding": _encode(vector, body.encoding_format)}
        for i, vector in enumerate(vectors)
    ]
    return JsonResponse({"object": "list", "model": body.model, "data": data, "usage": charge.usage})


def _route(s: Services, body: EmbeddingRequest, x: Exchange) -> Route | None:
    """Returns the route of a configured embedding model, or None for a local embedder. Raises `ApiError`."""
    if body.model in s.retrieval.local:
        return None
    route = s.catalog.current.router.resolve(body.model, x.caller)
    if route is None:
        raise no_model(body.model)
    if route.embedding is None:
        raise wrong_task(body.model, route.task, "embed texts")
    if body.dimensions is not None:
        _check_dimensions(body.dimensions, route.embedding)
    return route


async def _embed(s: Services, x: Exchange, route: Route | None, texts: list[str]) -> tuple[Vectors, int | None]:
    if route is None or route.embedding is None:
        return await s.retrieval.embed_whole(texts, x.model)
    return await embed(s.engines, s.upstream, route.model, route.embedding, x.caller, texts)


def _check_dimensions(asked: int, shape: Embedding) -> None:
    if asked > shape.dimensions or (asked < shape.dimensions and not shape.matryoshka):
        why = "at most" if shape.matryoshka else "always"
        raise invalid(f"This model's vectors have {why} {shape.dimensions} dimensions.", "dimensions")


def _shortened(vectors: Vectors, asked: int, route: Route | None) -> Vectors:
    if route is None:
        raise invalid(f"This model's vectors always have {vectors.shape[1]} dimensions.", "dimensions")
    return shortened(vectors, asked)


def _encode(vector: np.ndarray[Any, np.dtype[np.float32]], encoding: str) -> Any:
    if encoding == "base64":  # little-endian float32, as OpenAI's SDK decodes it
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.tolist()
