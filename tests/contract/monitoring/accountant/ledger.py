"""The truth about a script's requests, as those know it who sent and who answered them: no figure of ours is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from tests.contract.monitoring.accountant.stack import PRICES

Outcome = Literal["ok", "refused", "error", "cancelled"]
NOBODY = "none"
"""The model of a request that asks none, or whose model is not known."""


@dataclass
class Entry:
    """One request, and what became of it. Times are of `time.time`."""

    id: str
    """Also the `x-request-id`."""
    route: str
    tenant: str | None
    """None for a stranger."""
    user: str = ""
    key: str = field(default="", repr=False)
    """The API key that it was sent with; empty for a stranger."""
    method: str = ""
    asked: str = NOBODY
    """The model, alias or assistant that it names, if that exists."""
    served: str = NOBODY
    """The model that answered, or would have."""
    assistant: str | None = None
    outcome: Outcome = "ok"
    status: int | None = None
    code: str = ""
    streamed: bool = False
    """Whether its answer began as a stream of events."""
    wants_stream: bool = False
    replica: str | None = None
    """The replica that answered, of a model that has some."""
    retries: int = 0
    """Replicas that were asked in vain before."""
    charged: bool = False
    """Whether its caller's quotas admitted it."""
    read: int = 0
    """Tokens that the engine said it read, to the gateway, and likewise `written`."""
    written: int = 0
    captured: str = ""
    """The status of its capture; empty without one."""
    answer: str = ""
    """The id of its answer, if its caller got one."""
    finish_reason: str | None = None
    """Of the first choice of its answer, if that came to an end."""
    rated: tuple[str, str] | None = None
    """Kind of target and thumb of the rating that it is."""
    got: str = ""
    """The first thumb that its answer got."""
    quota: tuple[str, str] | None = None
    """Measure and window of the quota that refused it."""
    sent_at: float = 0
    ended_at: float = 0
    first_token_s: tuple[float, float] | None = None
    """The least and the most seconds that its first token can have taken: by the engine's clock, and its caller's."""
    generated_s: float | None = None
    """Seconds that the engine took for a whole answer, by its clock."""

    @property
    def price_model(self) -> str:
        """The model whose price its tokens have; empty if they have none."""
        return self.served if self.served in PRICES and (self.read or self.written) else ""

    @property
    def cost(self) -> Decimal:
        """In the currency of `price_model`."""
        if not self.price_model:
            return Decimal(0)
        price = PRICES[self.price_model]
        assert price.input is not None
        assert price.output is not None
        return (self.read * price.input + self.written * price.output) / 1_000_000

    @property
    def currency(self) -> str:
        return PRICES[self.price_model].currency if self.price_model else ""

    @property
    def asks_model(self) -> bool:
        """Whether it names a model that exists: neither a poll nor a mistake."""
        return self.served != NOBODY


Label = Callable[[Entry], str | None]
Labels = tuple[tuple[str, str], ...]


@dataclass
class Ledger:
    """All requests of a script, in the order in which they were sent."""

    entries: list[Entry] = field(default_factory=list)

    def where(self, **wanted: object) -> Ledger:
        """Returns the entries whose fields have these values."""
        return self.that(lambda entry: all(getattr(entry, name) == value for name, value in wanted.items()))

    def that(self, true: Callable[[Entry], bool]) -> Ledger:
        return Ledger([entry for entry in self.entries if true(entry)])

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def sums(self, amount: Callable[[Entry], float | Decimal] = lambda entry: 1, **by: Label) -> dict[Labels, float]:
        """Returns sums by labels, without those of entries that lack one, and without zeros."""
        found: Counter[Labels] = Counter()
        for entry in self.entries:
            labels = tuple(sorted((name, label) for name, of in by.items() if (label := of(entry)) is not None))
            if len(labels) == len(by):
                found[labels] += amount(entry)  # type: ignore[assignment]
        return {labels: float(value) for labels, value in found.items() if value}
