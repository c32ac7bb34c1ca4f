"""Input checks of earlier messages that were stored without a request, or with other guardrails.

Items store the version of the guardrails that they passed, and are not checked again by the same. Results for other
items that stay unchanged are cached for a while, so that a conversation is not checked again for each turn. Texts are
not cached: an item from which something is removed is checked again for each request.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Any

import orjson

from serving.core.ttl_cache import TtlCache
from serving.guardrails.checker import REMOVED, GuardrailChecker
from serving.guardrails.texts import walk
from serving.store.conversations import Body

CleanTexts = TtlCache[tuple[dict[str, Any], ...]]
"""Cache from digests of texts that passed unchanged to the findings in them."""

MAX_FOUND = 8
"""Maximum number of cached findings of a text; one with more is checked again."""

TTL_S = 3600
UNJUDGED_S = 60
"""Seconds for which the pass of a text without a verdict is cached: short, but long enough that not every turn is slow
during an outage.
"""

SIZE = 16_384


class HistoryChecker:
    """The `Screen` of one request. A blocked item blocks the request only if it would be in the prompt."""

    def __init__(self, guard: GuardrailChecker, clean: CleanTexts) -> None:
        self.guard = guard
        self._clean = clean
        self._left: dict[str, Body] = {}
        self._found: dict[str, list[dict[str, Any]]] = {}
        self._refused: dict[str, tuple[str, str]] = {}
        self._reported: set[str] = set()

    @classmethod
    def for_guard(cls, guard: GuardrailChecker | None, clean: CleanTexts) -> HistoryChecker | None:
        """Returns the checker of a history, or None if nothing is checked."""
        return cls(guard, clean) if guard is not None and guard.reads else None

    async def item(self, id: str, body: Body, checked: str | None) -> Body:
        """Returns an item after its checks. Raises `RetrievalUnavailable`."""
        if checked == self.guard.version:
            return body
        if id in self._left:
            return self._left[id]
        digest = self._digest(dict(body))
        if (known := self._clean.get(digest)) is not None:
            self._found[id] = _placed(id, known)
            return body
        own = self.guard.apart()

        async def check(text: str, role: str, place: str) -> str:
            result = await own.check_message(text, role, place, asks=own.asks(role))
            if not result.blocked:
                return result.text
            if role != "tool":
                self._refused.setdefault(id, own.blocks[place])
            return REMOVED

        await asyncio.sleep(0)  # a history has many texts, and other streams must not wait for all of them
        left: Body = await walk(dict(body), "", "user", check)
        self._left[id] = left
        self._found[id] = _placed(id, own.report)
        self._remember(digest, own, same=left == body)
        return left

    async def quoted(self, id: str, body: Body, checked: str | None) -> Body:
        """Like `item`; findings are reported immediately, and block no request."""
        left = await self.item(id, body, checked)
        self._report(id)
        return left

    async def note(self, text: str) -> str:
        """Returns a stored text after its checks; empty if it is blocked. Raises as `item`."""
        digest = self._digest(text)
        if (known := self._clean.get(digest)) is not None:
            self.guard.include(known)
            return text
        own = self.guard.apart()
        await asyncio.sleep(0)  # as in `item`
        result = await own.check_message(text, "user", "memory", asks=False)
        self.guard.include(own.report)
        self._remember(digest, own, same=result.text == text)
        return "" if result.blocked else result.text

    def report_shown(self, ids: Iterable[str]) -> tuple[str, str, str] | None:
        """Reports the findings in items that are in the prompt.

        Returns the first blocked item, with check and kind, or None.
        """
        refused = None
        for id in ids:
            self._report(id)
            if refused is None and id in self._refused:
                refused = id, *self._refused[id]
        return refused

    def _report(self, id: str) -> None:
        if id in self._found and id not in self._reported:
            self._reported.add(id)
            self.guard.include(self._found[id])

    def _remember(self, digest: bytes, own: GuardrailChecker, *, same: bool) -> None:
        if same and not own.blocks and len(own.report) <= MAX_FOUND:
            self._clean.put(digest, tuple(own.report), TTL_S if own.whole else UNJUDGED_S)

    def _digest(self, said: object) -> bytes:
        return hashlib.sha256(
            orjson.dumps([self.guard.version, self.guard.tenant, said], option=orjson.OPT_SORT_KEYS)
        ).digest()


def _placed(id: str, report: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**found, "place": f"items.{id}{found['place']}"} for found in report]
