"""Checks of whole texts by models: the embedder determines their topic, a classifier whether they are safe."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.config import ClassifierGuardrail, TopicsGuardrail
from serving.core.principal import Principal
from serving.engines.client import EngineClient, read_answer
from serving.engines.endpoint import EngineBusy, EngineUnavailable
from serving.engines.pool import Engines
from serving.engines.router import ModelRouter
from serving.guardrails.rails import Judged
from serving.protocol.errors import ApiError, upstream
from serving.retrieval.client import RetrievalClient

log = logging.getLogger("headrace.guardrails")

PIECE = 800
"""Number of characters of a text that are embedded at once: about as many as the embedder reads."""

PIECES = 16
"""Maximum number of checked pieces: of a longer text, those at its beginning and end."""

FAILURE = "failure"
VERDICT_TOKENS = 32


class NoVerdict(Exception):
    """A model gave no verdict, and the configuration lets the text pass."""


class Classifiers:
    """Checks whole texts."""

    def __init__(
        self, retrieval: RetrievalClient, engines: Engines, client: EngineClient, resolver: Callable[[], ModelRouter]
    ) -> None:
        self._retrieval = retrieval
        self._engines = engines
        self._client = client
        self._resolver = resolver
        self._vectors: dict[tuple[str, ...], NDArray[np.float32]] = {}

    async def judge(self, guardrail: Judged, text: str, caller: Principal, *, asks: bool = True) -> str | None:
        """Returns why `text` in a request of `caller` is not allowed, or None if it is.

        A text that does not `ask` for something is only rejected for denied topics. Raises `NoVerdict`, and for topics
        `RetrievalUnavailable`.
        """
        if not text.strip():
            return None
        if isinstance(guardrail, TopicsGuardrail):
            return await self._topic(guardrail if asks else guardrail.model_copy(update={"allow": ()}), text)
        try:
            async with asyncio.timeout(guardrail.timeout_s):
                return await self._classify(guardrail, text, caller)
        except (ApiError, EngineBusy, EngineUnavailable, TimeoutError) as e:
            log.warning("the classifier %s gave no verdict: %s", guardrail.model, type(e).__name__)
            if guardrail.on_failure == "allow":
                raise NoVerdict from None
            return FAILURE

    async def _topic(self, topics: TopicsGuardrail, text: str) -> str | None:
        if not topics.deny and not topics.allow:
            return None
        vectors, _ = await self._retrieval.embed(pieces(text))
        if topics.deny and float(np.max(vectors @ (await self._phrase_vectors(topics.deny)).T)) >= topics.min_score:
            return "denied_topic"
        if topics.allow and float(np.max(vectors @ (await self._phrase_vectors(topics.allow)).T)) < topics.min_score:
            return "other_topic"
        return None

    async def _phrase_vectors(self, phrases: tuple[str, ...]) -> NDArray[np.float32]:
        if phrases not in self._vectors:
            if len(self._vectors) >= 256:  # the catalogue can change
                self._vectors.clear()
            self._vectors[phrases], _ = await self._retrieval.embed(list(phrases))
        return self._vectors[phrases]

    async def _classify(self, classifier: ClassifierGuardrail, text: str, caller: Principal) -> str | None:
        if len(text) > classifier.max_characters:
            raise upstream("The text is too long for the classifier.")
        route = self._resolver().composed(classifier.model)
        if route is None:
            raise upstream("There is no such classifier.")
        moderations = classifier.api == "moderations"
        asked: dict[str, Any] = {"input": text}
        if not moderations:
            said = [{"role": "user", "content": text}]
            asked = {"messages": said, "temperature": 0, "max_tokens": VERDICT_TOKENS}
        path = "/moderations" if moderations else "/chat/completions"
        async with (
            self._engines.endpoint(route.model, caller) as endpoint,
            self._client.post(endpoint, path, {**asked, "model": endpoint.model}) as response,
        ):
            answer = await read_answer(response, endpoint)
        wrong = _moderation_categories(answer) if moderations else _llama_guard_categories(answer)
        if wrong is None:
            return None
        counted = [name for name in wrong if not classifier.categories or name in classifier.categories]
        return (counted or ["unsafe"])[0][:64] if counted or not wrong else None


def pieces(text: str) -> list[str]:
    """Returns the pieces of a text to embed: at most `PIECES`."""
    cut = [text[i : i + PIECE] for i in range(0, len(text), PIECE)]
    whole = cut if len(cut) <= PIECES else [*cut[: PIECES // 2], *cut[-PIECES // 2 :]]
    return [piece for piece in whole if piece.strip()]


def _moderation_categories(answer: dict[str, Any]) -> Sequence[str] | None:
    """Returns the categories of OpenAI's moderation, None for a text that is not flagged. Raises `ApiError`."""
    try:
        results = answer["results"]
        if not results or not all(isinstance(r["flagged"], bool) for r in results):
            raise TypeError
        if not any(r["flagged"] for r in results):
            return None
        return sorted({str(n) for r in results for n, hit in (r.get("categories") or {}).items() if hit is True})
    except (AttributeError, LookupError, TypeError):
        raise upstream("The classifier's answer has no results.") from None


def _llama_guard_categories(answer: dict[str, Any]) -> Sequence[str] | None:
    """Returns the categories of an unsafe text in Llama Guard's notation, None for a safe one. Raises `ApiError`."""
    try:
        words: list[str] = answer["choices"][0]["message"]["content"].replace(",", " ").split()
    except (AttributeError, LookupError, TypeError):
        raise upstream("The classifier's answer has no choices.") from None
    verdict = words[0].strip(".:").lower() if words else ""
    if verdict == "safe":
        return None
    if verdict != "unsafe":
        raise upstream("The classifier answered neither safe nor unsafe.")
    return words[1:]
