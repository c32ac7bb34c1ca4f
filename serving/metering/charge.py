"""Charges a request to its caller's quotas: a reservation of the maximum at admission, and the usage at the end."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy.engine import Connection

from serving.config import MONEY_PLACES, STORED, Price
from serving.core.ids import now
from serving.core.principal import Principal
from serving.engines.endpoint import Endpoint
from serving.engines.reported_usage import counts_of
from serving.engines.token_counter import estimate_upper_bound
from serving.metering.cost import Cost
from serving.metering.keeper import Keeper, QuotaExceeded, QuotaUnavailable, Reservation
from serving.protocol.errors import ApiError, may_have_worked, rate_limited, unavailable
from serving.quotas.quota import Quota
from serving.quotas.share import Share
from serving.quotas.windows import day
from serving.store.conversations import Item, Then
from serving.store.jobs.worker import PermanentError
from serving.store.quotas import Meter, QuotaStore, meter, queue_meter
from serving.store.usage import Used, Whose, count
from serving.store.values import MAX_NUMBER
from serving.telemetry import metrics

BACKGROUND = "background"
"""Key name of background work in usage."""

_SHOWN = ("requests", "tokens")
"""Measures of a minute's quotas in OpenAI's headers."""

HEADERS = (
    "headrace-quota-warning",
    *(f"x-ratelimit-{name}-{measure}" for name in ("limit", "remaining", "reset") for measure in _SHOWN),
)
"""Measures for which warnings are sent."""


@contextlib.asynccontextmanager
async def charged_in_background(
    keeper: Keeper, caller: Principal, model: str, endpoint: Endpoint, document: dict[str, Any], price: Price | None
) -> AsyncIterator[Charge]:
    """Charges background work of an engine for `caller`.

    Tokens and money count as the user's and the tenant's, under the key `BACKGROUND`, but no request is counted. Raises
    `ApiError`, and `PermanentError` for more than a quota ever allows.
    """
    charge = Charge(keeper, replace(caller, key_id=BACKGROUND, account=""), model, requests=0)
    for quota, units in charge.needs(document, endpoint, price):
        if units > quota.limit:
            raise PermanentError(
                "insufficient_quota", f"the quota of {quota.description} never allows this much at once"
            )
    try:
        await charge.reserve(document, endpoint, price)
        yield charge
    except Exception as e:
        if not charge.booked and may_have_worked(e):
            charge.lose()
        raise
    except asyncio.CancelledError:
        if not charge.booked:
            charge.lose()
        raise
    finally:
        charge.end()


def storage_meter(keeper: Keeper, caller: Principal, **uses: int) -> Meter:
    """Returns a function that counts stored amounts in the transaction that stores them."""
    return meter(_needs(keeper, caller, uses), now())


def queueing_meter(
    keeper: Keeper, caller: Principal, model: str, document: dict[str, Any], context: int | None
) -> tuple[int, Meter]:
    """Returns the maximum number of tokens that a request to `model` may use, and a function that requires, in the
    transaction that queues it, that budgets of the user and the tenant are enough for all that waits.
    """
    *_, tokens = estimate_usage(document, context, keeper.defaults.answer_tokens)
    budgets = [each for each in keeper.quotas_for(caller, model) if each.measure == "tokens" and each.is_budget]
    # A job has no key and no model: their quotas are asked when it runs.
    of_owner = [each for each in budgets if each.subject in ("tenant", "user")]
    return tokens, queue_meter([(each, tokens) for each in of_owner], now())


async def require_storage(store: QuotaStore, keeper: Keeper, caller: Principal, **uses: int) -> None:
    """Raises `QuotaExceeded` if these amounts could not be stored."""
    await store.require(_needs(keeper, caller, uses), now())


def _needs(keeper: Keeper, caller: Principal, uses: Mapping[str, int]) -> list[tuple[Quota, int]]:
    quotas = keeper.quotas_for(caller, "")
    return [(each, units) for each in quotas if (units := uses.get(each.measure, 0))]


def quota_error(e: QuotaExceeded) -> ApiError:
    """Returns the error for an exceeded quota, with the time after which to retry."""
    metrics.child(metrics.quota_refused, e.quota.tenant, e.quota.measure, e.quota.window).inc()
    headers = {"Retry-After": str(math.ceil(e.retry_after_s))} if e.retry_after_s is not None else {}
    if e.spent and (e.quota.is_budget or e.quota.window == "total"):
        headers["x-should-retry"] = "false"  # OpenAI's SDKs would retry immediately
        return rate_limited("insufficient_quota", f"Too little is left of the quota of {e.quota.description}.", headers)
    return rate_limited(
        "rate_limit_exceeded", f"The quota of {e.quota.description} is reached; try again later.", headers
    )


class Charge:
    """The reservation and usage of one request.

    `booked` tells that an engine reported usage, and `counted` that the usage is in the store. Memory's work after an
    answer counts no `requests`, and no quotas of keys, since it has none. `told` gets the recorded usage. Without
    `rates`, only budgets apply: work that is done bit by bit is paced by its workers, not by quotas per minute.
    """

    def __init__(
        self,
        keeper: Keeper,
        caller: Principal,
        model: str,
        *,
        requests: int = 1,
        rates: bool = True,
        told: Callable[[dict[str, Any], Cost | None], None] | None = None,
    ) -> None:
        self._told = told
        self._keeper = keeper
        self._caller = caller
        self._model = model
        # Amounts that are counted when they are stored are not engines' usage.
        self._quotas = [
            each
            for each in keeper.quotas_for(caller, model)
            if each.measure not in STORED
            and (caller.key_id != BACKGROUND or each.subject != "key")
            and (rates or each.is_budget)
        ]
        self._metered = [each for each in self._quotas if each.measure in ("tokens", "money")]
        self._admitted = False
        self._flat: list[Reservation] = []
        self._most: list[Reservation] = []
        self._used = Used(requests=requests)
        self._currency = ""
        self._known = True
        self.booked = False
        self.counted = False

    async def admit(self, *, stream: bool = False) -> None:
        """Reserves a request, and a stream if it is one; raises `ApiError`."""
        for each in self._metered:
            if self._keeper.share(each).exhausted:
                raise self._refusal(self._keeper.exceeded(each, 1))
        measures = (*(("requests",) if self._used.requests else ()), *(("streams",) if stream else ()))
        self._flat = await self._reserve([(each, 1) for each in self._quotas if each.measure in measures])
        self._admitted = True

    async def reserve(self, document: dict[str, Any], endpoint: Endpoint, price: Price | None, effort: int = 0) -> None:
        """Reserves the maximum that an engine may read and write for a request; raises `ApiError`.

        `effort` is the number of tokens of a strategy.
        """
        self._admitted = True
        await self._reserve_most(self.needs(document, endpoint, price, effort))

    def needs(
        self, document: dict[str, Any], endpoint: Endpoint, price: Price | None, effort: int = 0
    ) -> list[tuple[Quota, int]]:
        """Returns the maximum that an engine may use for a request, by quota."""
        if not self._metered:
            return []
        read, written, tokens = estimate_usage(document, endpoint.context, self._keeper.defaults.answer_tokens)
        money = _money(read, written, price)
        if effort:  # a strategy may exceed its effort by one completion
            tokens += effort
            money += _money(effort, effort, price) if price is not None else 0
        return self._of_each(tokens, money, price.currency if price is not None else "")

    async def reserve_tokens(self, tokens: int, price: Price | None = None) -> None:
        """Reserves tokens that are only read; raises `ApiError`."""
        currency = price.currency if price is not None else ""
        await self._reserve_most(self._of_each(tokens, _money(tokens, 0, price), currency))

    def _of_each(self, tokens: int, money: int, currency: str) -> list[tuple[Quota, int]]:
        return [
            (each, tokens if each.measure == "tokens" else money)
            for each in self._metered
            if each.measure == "tokens" or each.currency == currency
        ]

    async def _reserve_most(self, needs: Sequence[tuple[Quota, int]]) -> None:
        for each in self._most:  # of an engine that was lost
            self._keeper.settle(each, 0)
        self._most = []
        self._most = await self._reserve(needs)

    async def _reserve(self, needs: Sequence[tuple[Quota, int]]) -> list[Reservation]:
        if not needs:
            return []
        try:
            return await self._keeper.reserve(needs)
        except QuotaExceeded as e:
            self._admitted = False  # rejected requests are not counted
            raise self._refusal(e) from None
        except QuotaUnavailable as e:
            self._admitted = False
            raise unavailable(f"The quota of {e.quota.description} cannot be checked now.") from None

    def _refusal(self, found: QuotaExceeded) -> ApiError:
        """Returns the error for an exceeded quota, or for an exhausted one that lasts longer, as far as this gateway
        knows: a caller who waits for the first would meet the second.
        """
        asked = (each for each in self._quotas if each.measure != "requests" or self._used.requests)
        windows = [each for each in asked if each.window != "concurrent" and self._keeper.share(each).exhausted]
        exhausted = [self._keeper.exceeded(each, 1) for each in windows]
        return quota_error(max((found, *exhausted), key=lambda each: each.retry_after_s or 0))

    def book(self, usage: dict[str, Any], cost: Cost | None) -> None:
        """Adds an engine's reported usage; if it reports none, the whole reservation counts as used."""
        self.booked = True
        if self._told is not None:
            self._told(usage, cost)
        counts = counts_of(usage)
        money = _units(cost.amount) if cost is not None else 0
        if counts is None or money > MAX_NUMBER:  # values beyond a column's range would break counting for everybody
            self._known = False
            return
        self._used += Used(0, *counts, money)
        if cost is not None:
            self._currency = cost.currency

    def lose(self) -> None:
        """Records that an engine was asked but its usage is unknown."""
        self._known = False

    def counting(self, then: Then | None) -> Then:
        """Returns `then` with a step that counts the request in the same transaction. Set `counted` afterwards."""
        counted = [self._count()]

        def both(connection: Connection, added: Sequence[Item]) -> None:
            if then is not None:
                then(connection, added)
            count(connection, counted)  # last, since others wait for the counter

        return both

    def end(self) -> None:
        """Settles the reservation, and counts the usage."""
        for each in self._flat:
            self._keeper.settle(each, 0 if each.share.quota.measure == "streams" else each.units)
        tokens = self._used.prompt_tokens + self._used.completion_tokens
        for each in self._most:
            used = tokens if each.share.quota.measure == "tokens" else self._used.cost
            self._keeper.settle(each, used if self._known else max(used, each.units))
        self._flat, self._most = [], []
        if self._admitted and not self.counted and self._used != Used():
            self._keeper.count(*self._count())
            self.counted = True

    def _count(self) -> tuple[Whose, Used]:
        caller = self._caller
        return Whose(caller.tenant, day(now()), caller.user, caller.key_id, self._model, self._currency), self._used

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Returns OpenAI's headers for minute quotas, and warnings for day and month quotas."""
        found: list[tuple[bytes, bytes]] = []
        shares = [self._keeper.share(each) for each in self._quotas]
        for measure in _SHOWN:
            of = [s for s in shares if s.quota.window == "minute" and s.quota.measure == measure]
            if of:
                found += _rate(measure, min(of, key=lambda share: share.left), now())
        warned = [s for s in shares if s.quota.is_budget and s.use >= self._keeper.defaults.warn_at]
        if warned:
            for share in warned:
                metrics.child(metrics.quota_warnings, share.quota.tenant, share.quota.measure, share.quota.window).inc()
            found.append((b"headrace-quota-warning", ", ".join(_warnings(warned)).encode()))
        return found


def estimate_usage(document: dict[str, Any], context: int | None, answer_tokens: int) -> tuple[int, int, int]:
    """Returns the maximum number of tokens that an engine may read, write, and both, for a request.

    `context` is the limit of one prompt with its answer; if neither it nor the request limits the answer,
    `answer_tokens` does.
    """
    prompt = document.get("prompt")
    if prompt is None:
        beside = [document.get("tools"), document.get("response_format")]
        prompts, read = 1, estimate_upper_bound(document.get("messages", []), beside)
    else:
        prompts = 1 if isinstance(prompt, str) else len(prompt)
        read = len(orjson.dumps(prompt))
    answers = prompts * (document.get("n") or 1)
    written = document.get("max_tokens") or context or answer_tokens
    if context is None:
        return read, answers * written, read + answers * written
    read, written = min(read, prompts * context), answers * min(written, context)
    return read, written, min(read + written, context) if answers == 1 else read + written


def _money(read: int, written: int, price: Price | None) -> int:
    if price is None or price.input is None or price.output is None:
        return 0
    dearest = max(price.input, price.cached_input or Decimal(0))
    return _units((read * dearest + written * price.output).scaleb(-6))


def _units(amount: Decimal) -> int:
    """Returns an amount of money in billionths, rounded up."""
    return math.ceil(amount.scaleb(MONEY_PLACES))


def _rate(measure: str, share: Share, at: float) -> Iterable[tuple[bytes, bytes]]:
    shown = {"limit": share.quota.limit, "remaining": share.left, "reset": f"{max(math.ceil(share.end - at), 0)}s"}
    return ((f"x-ratelimit-{name}-{measure}".encode(), str(value).encode()) for name, value in shown.items())


def _warnings(shares: Iterable[Share]) -> Iterable[str]:
    for share in shares:
        quota = share.quota
        what = " ".join(part for part in (quota.subject, quota.window, quota.measure, quota.currency) if part)
        yield f"{what} {min(math.floor(share.use * 100), 100)}%"
