"""What the panels of tenants, capacity and money must show of a round of the script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tests.contract.monitoring.accountant.figures import (
    HOUR_S,
    Figure,
    asked_model,
    cost,
    currency,
    priced_model,
    read,
    tenant,
    written,
)
from tests.contract.monitoring.accountant.stack import ACME
from tests.contract.monitoring.accountant.traffic import WARNED_LIMIT
from tests.contract.monitoring.accountant.truth import Book, Truth, rates, shares

MILLION = 1_000_000
_BUDGET = "{{tenant}} {{measure}} {{window}}"


def refused(book: Book) -> Truth:
    return rates(
        book,
        book.ledger.that(lambda entry: entry.quota is not None),
        tenant=tenant,
        measure=lambda entry: entry.quota[0] if entry.quota else None,
        window=lambda entry: entry.quota[1] if entry.quota else None,
    )


def warned(book: Book) -> Truth:
    """Also a refusal warns."""
    return {
        (("measure", measure), ("tenant", tenant), ("window", window)): count / book.span_s
        for (tenant, measure, window), count in Counter(book.warnings).items()
    }


def used(book: Book) -> Truth:
    """The caller who is warned has a budget of requests; and of nothing, everything is used."""
    sent = len(book.everything.where(user="warned", charged=True))
    return {
        (("measure", "requests"), ("tenant", ACME), ("window", "month")): sent / WARNED_LIMIT,
        (("measure", "tokens"), ("tenant", ACME), ("window", "day")): 1.0,
    }


TENANTS: Mapping[str, Figure] = {
    "Requests by tenant: {{tenant}}": lambda b: rates(b, b.ledger, tenant=tenant),
    "Failed requests: {{tenant}}": lambda b: shares(b.ledger.where(outcome="error"), b.ledger, tenant=tenant),
    "Tokens read: {{tenant}}": lambda b: rates(b, b.ledger, read, tenant=tenant),
    "Tokens written: {{tenant}}": lambda b: rates(b, b.ledger, written, tenant=tenant),
    f"Quota used: {_BUDGET}": used,
    f"Rejected: quota exceeded: {_BUDGET}": refused,
    f"Quota warnings: {_BUDGET}": warned,
    "Cost per hour by tenant: {{tenant}} {{currency}}": lambda b: rates(
        b, b.ledger, cost, times=HOUR_S, tenant=tenant, currency=currency
    ),
    "Cost per hour by model: {{model}} {{currency}}": lambda b: rates(
        b, b.ledger, cost, times=HOUR_S, model=priced_model, currency=currency
    ),
}


def of_a_million_tokens(book: Book) -> Truth:
    """The cost of a model's answers by all of their tokens, read and written."""
    priced = book.ledger.that(lambda entry: bool(entry.price_model))
    tokens = priced.sums(lambda entry: read(entry) + written(entry), model=asked_model)
    spent = priced.sums(cost, model=priced_model, currency=currency)
    return {labels: MILLION * value / tokens[("model", dict(labels)["model"]),] for labels, value in spent.items()}


CAPACITY: Mapping[str, Figure] = {
    "Cost per hour by tenant and model: {{tenant}} {{model}} {{currency}}": lambda b: rates(
        b, b.ledger, cost, times=HOUR_S, tenant=tenant, model=priced_model, currency=currency
    ),
    "Cost of this month: {{tenant}} {{currency}}": lambda b: b.everything.sums(cost, tenant=tenant, currency=currency),
    "Cost per million tokens: {{model}} {{currency}}": of_a_million_tokens,
}
