"""`POST /v1/rerank`: ranks documents by their relevance to a query."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.services import Services
from serving.core.ids import new_id
from serving.engines.reranking import rerank
from serving.inference.exchange import Exchange
from serving.inference.reading import reading, tokens_at_most
from serving.protocol.errors import invalid, no_model, wrong_task
from serving.protocol.rerank import RerankRequest


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Scores each document, and returns the best first."""
    body = await read_json(request, RerankRequest, s.limits, drop_unsupported=s.config.drop_unsupported_params)
    route = s.catalog.current.router.resolve(body.model, x.caller)
    if route is None and body.model in s.retrieval.local:
        raise wrong_task(body.model, "embed", "rank documents")
    if route is None:
        raise no_model(body.model)
    if route.task != "rerank":
        raise wrong_task(body.model, route.task, "rank documents")
    x.model = body.model
    x.served = route.served
    texts = body.texts
    if not body.query or not all(texts):
        raise invalid("A query or a document must not be empty.", "documents" if body.query else "query")
    if len(body.query) + sum(map(len, texts)) > s.limits.characters:
        raise invalid(f"The documents have more than {s.limits.characters} characters.", "documents", "too_long")
    x.timeline.end_of("receive")
    # A cross-encoder reads the query with every document.
    most = tokens_at_most([body.query]) * len(texts) + tokens_at_most(texts)
    async with reading(s.keeper, s.admission, x, most, route.price) as charge:
        scores, tokens = await rerank(s.engines, s.upstream, route.model, x.caller, body.query, texts)
        charge.read(tokens)
    order = sorted(range(len(texts)), key=lambda index: (-scores[index], index))[: body.top_n]
    results: list[dict[str, Any]] = [{"index": index, "relevance_score": scores[index]} for index in order]
    if body.return_documents:
        for result in results:
            result["document"] = {"text": texts[result["index"]]}
    return JsonResponse({"id": new_id("rerank"), "model": body.model, "results": results, "usage": charge.usage})
