"""The order of a reranker, and searches without it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, cast

import pytest

from serving.config import Catalog, RemoteModel, SearchModels
from serving.protocol.errors import upstream
from serving.retrieval import reranker as module
from serving.retrieval.reranker import Reranker
from serving.retrieval.types import Hit
from serving.telemetry import metrics

RANKS = RemoteModel(name="ranks", url="http://127.0.0.1:1/v1", task="rerank")


def hits(*texts: str) -> list[Hit]:
    return [Hit(text, text, text, "", "", text, 0, 1, None, 1 - at / 10, 0.5, 1.0) for at, text in enumerate(texts)]


def counted(outcome: str) -> float:
    return float(metrics.reranks.labels(outcome)._value.get())


def reranker(**settings: Any) -> Reranker:
    made = Reranker(cast(Any, None), cast(Any, None))
    made.configure(Catalog(models=(RANKS,), search=SearchModels(reranker="ranks", **settings)))
    return made


async def test_the_best_hits_are_reordered_and_keep_their_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    async def rerank(_e: Any, _c: Any, model: str, _w: Any, query: str, texts: Sequence[str]) -> Any:
        assert (model, query) == ("ranks", "q")
        return [float(text == "b") for text in texts], 3

    monkeypatch.setattr(module, "rerank", rerank)
    ordered = await reranker(reranked=2).order("q", hits("a", "b", "c"))
    assert [(hit.text, hit.score) for hit in ordered] == [("b", 0.9), ("a", 1.0), ("c", 0.8)]
    assert reranker(reranked=40).depth(5) == 40
    assert Reranker(cast(Any, None), cast(Any, None)).depth(5) == 5


@pytest.mark.parametrize("outcome", ["failed", "late"])
async def test_a_search_ignores_a_reranker_that_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, outcome: str
) -> None:
    async def rerank(*_: Any) -> Any:
        if outcome == "failed":
            raise upstream("out of order")
        await asyncio.Event().wait()

    monkeypatch.setattr(module, "rerank", rerank)
    before, ranks = counted(outcome), reranker(rerank_timeout_s=0.01)
    found = hits("a", "b")
    with caplog.at_level(logging.WARNING, "headrace.retrieval"):
        assert [await ranks.order("q", found) for _ in range(2)] == [found, found]
    assert counted(outcome) == before + 2
    assert len(caplog.records) == 1
    assert "ranks" in caplog.text
