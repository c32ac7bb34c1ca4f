"""Webhooks: URLs of a tenant that are notified when background work ends. Each delivery is a job of the same
transaction.
"""

from __future__ import annotations

import base64
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.errors import NotFound, TooMany
from serving.store.jobs.queue import add_job
from serving.store.relational.database import Database
from serving.store.relational.rows import Order, Page, build, build_page, page
from serving.store.relational.tables import UNFINISHED, jobs, webhooks

DELIVER = "deliver_webhook"
"""Job kind: payload {"webhook_id", "event"}, the document to send."""

DELAYS_S = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
"""Seconds after each failed attempt of a delivery until the next one: about two hours in all."""

ATTEMPTS = len(DELAYS_S) + 1
"""Maximum number of attempts of a delivery."""

MAX_WEBHOOKS = 16
"""Maximum number of webhooks that a tenant has of its own, and of the platform: each event becomes as many jobs."""

SetBy = Literal["platform", "tenant"]

MAX_WAITING = 500
"""Maximum number of deliveries that wait, to a tenant's own webhooks and to the platform's; more are not sent."""

MAX_WAITING_EACH = 200
"""Maximum number of deliveries to one webhook that wait: a dead receiver takes no place of the tenant's others."""

EventType = Literal[
    "response.completed",
    "response.incomplete",
    "response.failed",
    "response.cancelled",
    "batch.completed",
    "batch.failed",
    "batch.expired",
    "batch.cancelled",
]

EVENTS: tuple[EventType, ...] = get_args(EventType)


@dataclass(frozen=True, slots=True)
class Webhook:
    """The destination of events. `private` ones may be in private networks. One that is set by the platform is hidden
    from the tenant.

    `not_sent` is the number of events that were not sent because too many deliveries waited.
    The previous secret is valid until `previous_until`. Secrets are stored, since deliveries are signed with them; they
    are not in `repr`.
    """

    id: str
    tenant: str
    url: str
    events: list[EventType]
    private: bool
    secret: str = field(repr=False)
    previous_secret: str | None = field(repr=False)
    previous_until: float | None
    created_at: float
    set_by: SetBy
    not_sent: int

    def secrets(self, at: float) -> list[str]:
        """Returns the secrets that sign a delivery at unix time `at`."""
        before = self.previous_secret is not None and at < (self.previous_until or 0)
        return [self.secret, *([self.previous_secret] if before and self.previous_secret is not None else [])]


class Webhooks:
    """The webhooks of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def create(self, principal: Principal, *, url: str, events: Sequence[EventType], private: bool) -> Webhook:
        """Adds a webhook with a new secret; raises `TooMany`."""
        row = {
            "id": new_id("wh"),
            "tenant": principal.tenant,
            "url": url,
            "events": sorted(set(events)),
            "private": private,
            "secret": _new_secret(),
            "previous_secret": None,
            "previous_until": None,
            "created_at": now(),
            "set_by": "platform" if _is_platform(principal) else "tenant",
        }
        same = webhooks.c.tenant == principal.tenant, webhooks.c.set_by == row["set_by"]
        count = select(func.count()).where(*same)
        async with self._database.write() as connection:
            if (await connection.execute(count)).scalar_one() >= MAX_WEBHOOKS:
                raise TooMany(f"there are {MAX_WEBHOOKS} webhooks: delete one first")
            await connection.execute(webhooks.insert().values(row))
            return await _get(connection, principal.tenant, str(row["id"]))

    @uninterrupted
    async def get(self, tenant: str, id: str) -> Webhook:
        """Returns a tenant's webhook; raises `NotFound`."""
        async with self._database.read() as connection:
            return await _get(connection, tenant, id)

    @uninterrupted
    async def get_visible(self, principal: Principal, id: str) -> Webhook:
        """Returns a webhook of the principal's tenant that the principal may see; raises `NotFound`."""
        async with self._database.read() as connection:
            return await _get(connection, principal.tenant, id, _shown_to(principal))

    @uninterrupted
    async def list(
        self, principal: Principal, *, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[Webhook]:
        """Returns the webhooks of the principal's tenant that the principal may see."""
        async with self._database.read() as connection:
            found = await page(
                connection,
                select(webhooks),
                webhooks,
                principal,
                after=after,
                limit=limit,
                max_limit=100,
                order=order,
                within=_shown_to(principal),
            )
        return build_page(Webhook, found)

    @uninterrupted
    async def rotate(self, principal: Principal, id: str, *, overlap_s: float) -> Webhook:
        """Gives a webhook a new secret; for `overlap_s`, deliveries are signed with the previous one too.

        Raises `NotFound`.
        """
        async with self._database.write() as connection:
            before = await _get(connection, principal.tenant, id, _shown_to(principal))
            changes = {
                "secret": _new_secret(),
                "previous_secret": before.secret if overlap_s else None,
                "previous_until": now() + overlap_s if overlap_s else None,
            }
            await connection.execute(webhooks.update().where(*_mine(principal.tenant, id)).values(changes))
            return await _get(connection, principal.tenant, id)

    @uninterrupted
    async def delete(self, principal: Principal, id: str) -> None:
        """Deletes a webhook: no further events are sent. Raises `NotFound`."""
        async with self._database.write() as connection:
            ours = *_mine(principal.tenant, id), _shown_to(principal)
            if not (await connection.execute(webhooks.delete().where(*ours))).rowcount:
                raise NotFound("webhook", id)


def announce(connection: Connection, tenant: str, user: str, type: str, id: str) -> None:
    """Adds a delivery to each of a tenant's webhooks for this type, in the transaction of the event.

    One beyond the limits is counted by its webhook instead, since a job for each would have no limit.
    """
    at = now()
    event = {"id": new_id("evt"), "object": "event", "type": type, "created_at": int(at), "data": {"id": id}}
    mine = select(webhooks.c.id, webhooks.c.events, webhooks.c.set_by).where(webhooks.c.tenant == tenant)
    wanted = connection.execute(mine.order_by(webhooks.c.id)).all()  # the order in which they are locked below
    concerned = [each.id for each in wanted if type in each.events]
    of = {each.id: each.set_by for each in wanted}
    waiting = _waiting(connection, tenant) if concerned else Counter()
    for webhook in concerned:
        about = {"webhook_id": webhook, "event": event}
        # The platform's deliveries do not wait for room that the tenant's take.
        beside = sum(count for id, count in waiting.items() if of.get(id, "tenant") == of[webhook])
        full = beside >= MAX_WAITING or waiting[webhook] >= MAX_WAITING_EACH
        if full:
            more = {"not_sent": webhooks.c.not_sent + 1}
            connection.execute(webhooks.update().where(webhooks.c.id == webhook).values(more))
        else:
            add_job(connection, Principal(tenant, user, id), DELIVER, about, max_attempts=ATTEMPTS)
            waiting[webhook] += 1


def _waiting(connection: Connection, tenant: str) -> Counter[str]:
    """Returns the number of unfinished deliveries of a tenant by webhook, without those of concurrent transactions."""
    mine = jobs.c.tenant == tenant, jobs.c.kind == DELIVER, UNFINISHED
    found = connection.execute(select(jobs.c.payload).where(*mine).limit(2 * MAX_WAITING)).scalars()
    return Counter(payload["webhook_id"] for payload in found)


async def _get(connection: AsyncConnection, tenant: str, id: str, *further: ColumnElement[bool]) -> Webhook:
    row = (await connection.execute(select(webhooks).where(*_mine(tenant, id), *further))).mappings().first()
    if row is None:
        raise NotFound("webhook", id)
    return build(Webhook, row)


def _mine(tenant: str, id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return webhooks.c.id == id, webhooks.c.tenant == tenant


def _is_platform(principal: Principal) -> bool:
    return "platform" in principal.scopes


def _shown_to(principal: Principal) -> ColumnElement[bool]:
    """Returns the condition for webhooks that a principal may see: those of the platform are its own."""
    return true() if _is_platform(principal) else webhooks.c.set_by == "tenant"


def _new_secret() -> str:
    """Returns a secret of the Standard Webhooks scheme: `whsec_` and 256 random bits in base 64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
