"""How much of what somebody may use."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, Self

from pydantic import Field, model_validator

from serving.config.base import Strict

Window = Literal["minute", "day", "month", "concurrent", "total"]
"""What a quota is for: a minute, a day or a month of the calendar in UTC, all that goes on at once, or all in store."""


Measure = Literal["requests", "tokens", "money", "streams", "files", "attachments", "items", "stored_bytes"]
"""What is counted: `files` that are uploaded, `attachments` of files to vector stores, conversations and `items`
that are added to them by themselves, and `stored_bytes` of files and of what vector stores keep of them."""


STORED: tuple[Measure, ...] = ("files", "attachments", "items", "stored_bytes")
"""What is counted in the transaction that stores it, and is of no model."""


Subject = Literal["tenant", "user", "key", "model"]
"""Whose a quota is; users, keys and models are those of a tenant."""


MONEY_PLACES = 9
"""Decimal places of an amount of money, as of a price."""


MOST_UNITS = 2**53
"""Above every limit, also of money in billionths: JSON readers and databases agree about integers below it."""


class QuotaLimit(Strict):
    """One limit. Money has a currency; streams are counted at once, stored bytes in all, and the rest in a time."""

    window: Window
    measure: Measure
    limit: Decimal = Field(ge=0, description="a whole number, or an amount of money with at most 9 decimal places")
    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$", description="of money, its code in ISO 4217")

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
        """The limit as a whole number; of money in billionths of its currency."""
        return int(self.limit.scaleb(MONEY_PLACES) if self.measure == "money" else self.limit)


class Quotas(Strict):
    """What each tenant, user and key may use as long as nobody set another limit for it."""

    tenant: tuple[QuotaLimit, ...] = Field(default=(), max_length=16, description="of each tenant")
    user: tuple[QuotaLimit, ...] = Field(default=(), max_length=16, description="of each user")
    key: tuple[QuotaLimit, ...] = Field(default=(), max_length=16, description="of each API key")
    warn_at: float = Field(
        default=0.8, gt=0, le=1, description="share of a day's or month's quota that brings a warning"
    )
    answer_tokens: int = Field(
        default=4096,
        ge=1,
        le=1_000_000,
        description="set aside for an answer without max_tokens whose model has no known context",
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
    """Raises `ValueError` where a subject uses nothing of a measure."""
    if subject == "model" and measure in STORED:
        raise ValueError(f"{measure} are of a tenant, a user or a key, and of no model")
    if subject == "key" and measure == "stored_bytes":
        raise ValueError("stored_bytes are of a tenant or a user: what is stored has no key")
