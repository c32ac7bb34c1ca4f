"""Charges requests whose model generates no text: embedding and reranking."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

from serving.config import Price
from serving.inference.admission import Admission
from serving.inference.charging import charged
from serving.inference.exchange import Exchange
from serving.metering.charge import Charge
from serving.metering.cost import cost_of
from serving.metering.counters import count_cost, count_tokens
from serving.metering.keeper import Keeper
from serving.protocol.errors import may_have_worked

MARKS = 2
"""Number of special tokens that a model adds around each text."""


def tokens_at_most(texts: Iterable[str]) -> int:
    """Returns an upper bound of the number of tokens of texts, for any tokenizer."""
    return sum(len(text.encode(errors="replace")) + MARKS for text in texts)


class ReadCharge:
    """The charge for the tokens that a request reads."""

    def __init__(self, x: Exchange, charge: Charge, price: Price | None, most: int) -> None:
        self._x = x
        self._charge = charge
        self._price = price
        self._most = most
        self.usage: dict[str, Any] = {}

    def read(self, tokens: int | None) -> None:
        """Records the tokens read; if they are unknown, the reserved number."""
        x = self._x
        usage = {"prompt_tokens": self._most if tokens is None else tokens, "completion_tokens": 0}
        cost = cost_of(usage, self._price)
        self._charge.book(usage, cost)
        self.usage = {"prompt_tokens": usage["prompt_tokens"], "total_tokens": usage["prompt_tokens"]}
        x.usage, x.cost = self.usage, cost
        count_tokens(x.served, x.caller.tenant, self.usage)
        if cost is not None:
            count_cost(x.served, x.caller.tenant, cost)


@contextlib.asynccontextmanager
async def reading(
    keeper: Keeper, admission: Admission, x: Exchange, most: int, price: Price | None = None
) -> AsyncIterator[ReadCharge]:
    """Charges the tokens that are read inside, at most `most`. Raises `ApiError`."""
    admitted = admission.admit(background=x.background, within=x.run is not None)
    async with x.cancelled_by_hang_up(), charged(keeper, x) as charge, admitted:
        x.timeline.end_of("admit")
        await charge.reserve_tokens(most, price)
        try:
            with x.timeline.during("retrieve"):
                yield ReadCharge(x, charge, price, most)
        except asyncio.CancelledError:
            if not charge.booked:
                charge.lose()  # the model reads the input even if the caller disconnects
            raise
        except Exception as e:
            if not charge.booked and may_have_worked(e):
                charge.lose()
            raise
