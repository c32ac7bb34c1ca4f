"""The relevance of documents to a query by a model behind `/v1/rerank`, as llama.cpp, vLLM, Jina and Cohere have it."""

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
    """Returns how relevant each document is, in their order, and the tokens that were read, None where not said.

    Scores of one query compare with each other; their scale is the model's. Raises `ApiError`.
    """
    # Not every engine knows `return_documents`: Headrace has the documents itself.
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
        raise upstream("The model's scores hold what is no number.")
    return scores
