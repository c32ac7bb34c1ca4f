"""Reranks the hits of a search with a model that reads the query and each passage; keeps their order if it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from serving.config import Catalog, SearchModels
from serving.engines.client import EngineClient
from serving.engines.pool import Engines
from serving.engines.reranking import rerank
from serving.protocol.errors import ApiError
from serving.retrieval.embedders.engine import RETRIEVAL
from serving.retrieval.types import MAX_QUESTION, Hit, prefix
from serving.telemetry import metrics

log = logging.getLogger("headrace.retrieval")


class Reranker:
    """The model of `headrace:retrieval.reranker`, if it is set."""

    def __init__(self, engines: Engines, client: EngineClient) -> None:
        self._engines = engines
        self._client = client
        self._settings = SearchModels()
        self._failing = False
        for outcome in ("succeeded", "late", "failed"):  # a panel shows 0 for outcomes that have not occurred
            metrics.reranks.labels(outcome)

    def configure(self, catalog: Catalog) -> None:
        """Takes the new catalogue with the configured model."""
        self._settings = catalog.search
        self._failing = False

    @property
    def configured(self) -> bool:
        """Whether a model sorts the hits again."""
        return self._settings.reranker is not None

    def depth(self, count: int) -> int:
        """Returns the number of hits that a search for `count` must find."""
        return max(count, self._settings.reranked) if self.configured else count

    async def order(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """Returns the hits, the best of them in the model's order; in their own order when it fails or is late.

        The scores are those of the search.
        """
        settings = self._settings
        head, tail = list(hits[: settings.reranked]), list(hits[settings.reranked :])
        if settings.reranker is None or len(head) < 2:
            return [*head, *tail]
        texts = [prefix(hit.title, hit.heading) + hit.text for hit in head]
        try:
            async with asyncio.timeout(settings.rerank_timeout_s):
                query = query[:MAX_QUESTION]
                scores, _ = await rerank(self._engines, self._client, settings.reranker, RETRIEVAL, query, texts)
        except TimeoutError:
            self._without("late", f"no answer within {settings.rerank_timeout_s:g} s")
            return [*head, *tail]
        except ApiError as e:
            self._without("failed", e.message)
            return [*head, *tail]
        metrics.reranks.labels("succeeded").inc()
        if self._failing:
            log.info("the reranker %s answers again", settings.reranker)
        self._failing = False
        best = sorted(range(len(head)), key=lambda at: (-scores[at], at))
        return [*(head[at] for at in best), *tail]

    def _without(self, outcome: str, why: str) -> None:
        metrics.reranks.labels(outcome).inc()
        if not self._failing:  # logged once, until it answers again
            log.warning("searches are not reranked, because %s fails: %s", self._settings.reranker, why)
        self._failing = True
