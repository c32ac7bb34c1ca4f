"""Quotas and their defaults."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, Self

from pydantic import Field, model_validator

from serving.config.base import Strict

Window = Literal["minute", "day", "month", "concurrent", "total"]
"""Window of a quota: a calendar minute, day or month in UTC, concurrent use, or the total of what is stored."""


Measure = Literal["requests", "tokens", "money", "streams", "files", "attachments", "items", "stored_bytes"]
"""Counted amounts: `files` uploaded, `attachments` of files to vector stores, `items`, which are conversations, their
explicitly added items, and ratings, and `stored_bytes` of files, vector stores, batches, ratings and queued responses.
"""


STORED: tuple[Measure, ...] = ("files", "attachments", "items", "stored_bytes")
"""Measures that are counted in the transaction that stores them, and that do not apply to models."""


Subject = Literal["tenant", "user", "key", "model"]
"""The subject of a quota; users, keys and models are those of a tenant."""


MONEY_PLACES = 9
"""Decimal places of an amount of money, the same as for prices."""


MOST_UNITS = 2**53
"""Upper bound of all limits, also of money in billionths: JSON parsers and databases agree on integers below it."""


class QuotaLimit(Strict):
    """One limit. Money has a currency; streams are concurrent, stored bytes a total, and all else is counted in a
    window of time.
    """

    window: Window
    measure: Measure
    limit: Decimal = Field(ge=0, description="a whole number, or an amount of money with at most 9 decimal places")
    currency: str | None = Field(
        default=None, pattern=r"^[A-Z]{3}$", description="ISO 4217 code of the currency, for money"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.measure == "streams") != (self.window == "concurrent"):
            raise ValueError("streams, and they alone, have the window concurrent")
        if (self.measure == "stored_bytes") != (self.window == "total"):
            raise ValueError("stored_bytes, and they alone, have the window total")
        if self.measure == "money" and self.window == "minute":
            raise ValueError("money is for a day or a month")
        if (self.measure == "money") != (self.currency is not None):
            raise ValueError("money, and money alone, has a currency")
        places = MONEY_PLACES if self.measure == "money" else 0
        units = self.limit.scaleb(places) if self.limit.is_finite() else Decimal(MOST_UNITS)
        if units >= MOST_UNITS or units != int(units):
            raise ValueError(f"limit must be below {MOST_UNITS} and have at most {places} decimal places")
        return self

    @property
    def units(self) -> int:
        """The limit as a whole number; for money in billionths of its currency."""
        return int(self.limit.scaleb(MONEY_PLACES) if self.measure == "money" else self.limit)


class Quotas(Strict):
    """Default limits of each tenant, user and key for which no other limit was set."""

    tenant: tuple[QuotaLimit, ...] = Field(default=(), max_length=16, description="limits of each tenant")
    user: tuple[QuotaLimit, ...] = Field(default=(), max_length=16, description="limits of each user")
    key: tuple[QuotaLimit, ...] = Field(default=(), max_length=16, description="limits of each API key")
    warn_at: float = Field(
        default=0.8, gt=0, le=1, description="used share of a day's or month's quota from which answers have a warning"
    )
    answer_tokens: int = Field(
        default=4096,
        ge=1,
        le=1_000_000,
        description="tokens reserved for an answer without max_tokens whose model has no known context",
    )

    @model_validator(mode="after")
    def _once(self) -> Self:
        subjects: tuple[Subject, ...] = ("tenant", "user", "key")
        for subject in subjects:
            named = [(each.window, each.measure, each.currency) for each in getattr(self, subject)]
            if len(set(named)) < len(named):
                raise ValueError(f"{subject} has two limits of one window and measure")
            for each in getattr(self, subject):
                refuse_measure(subject, each.measure)
        return self


def refuse_measure(subject: Subject, measure: Measure) -> None:
    """Raises `ValueError` if a subject cannot use the measure."""
    if subject == "model" and measure in STORED:
        raise ValueError(f"{measure} can be limited for a tenant, a user or a key, but not for a model")
    if subject == "key" and measure == "stored_bytes":
        raise ValueError("stored_bytes can be limited for a tenant or a user: stored data has no key")
