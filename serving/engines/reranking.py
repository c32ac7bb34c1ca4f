"""Reranks documents for a query with a model behind `/v1/rerank`, as in llama.cpp, vLLM, Jina and Cohere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from serving.core.principal import Principal
from serving.engines.asking import ask, tokens_read
from serving.engines.client import EngineClient
from serving.engines.pool import Engines
from serving.protocol.errors import upstream


async def rerank(
    engines: Engines, client: EngineClient, model: str, caller: Principal, query: str, documents: Sequence[str]
) -> tuple[list[float], int | None]:
    """Returns the relevance of each document, in their order, and the number of tokens read, None if not reported.

    Scores for one query are comparable with each other; their scale depends on the model. Raises `ApiError`.
    """
    # Not every engine knows `return_documents`, and Headrace has the documents itself.
    fields = {"query": query, "documents": list(documents), "top_n": len(documents)}
    answer = await ask(engines, client, model, caller, "/rerank", fields)
    return _scores(answer, len(documents)), tokens_read(answer)


def _scores(answer: dict[str, Any], count: int) -> list[float]:
    try:
        placed = {entry["index"]: float(entry["relevance_score"]) for entry in answer["results"]}
        scores = [placed[index] for index in range(count)]
    except (LookupError, TypeError, ValueError):
        raise upstream("The model's answer is not a score for each document.") from None
    if not all(map(math.isfinite, scores)):
        raise upstream("The model's scores contain values that are not finite numbers.")
    return scores
