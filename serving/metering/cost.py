"""The cost of an answer: its tokens times the price of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from serving.config import Price
from serving.engines.reported_usage import count, counts_of


@dataclass(frozen=True, slots=True)
class Cost:
    """An exact amount in a currency of ISO 4217."""

    amount: Decimal
    currency: str

    @property
    def document(self) -> dict[str, str]:
        """The amount in the API's format: a decimal number without exponent, in a string."""
        return {"amount": f"{self.amount.normalize():f}", "currency": self.currency}


def cost_of(usage: Mapping[str, Any], price: Price | None) -> Cost | None:
    """Returns the cost of an engine's `usage`; None without a price or if not both counts are reported.

    Cached prompt tokens have their own price if one is set.
    """
    if price is None or price.input is None or price.output is None or (counts := counts_of(usage)) is None:
        return None
    read, written = counts
    details = usage.get("prompt_tokens_details")
    cached = min((count(details, "cached_tokens") if isinstance(details, Mapping) else None) or 0, read)
    of_cached = price.input if price.cached_input is None else price.cached_input
    amount = (read - cached) * price.input + cached * of_cached + written * price.output
    return Cost(amount.scaleb(-6), price.currency)
