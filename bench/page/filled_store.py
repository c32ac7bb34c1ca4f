"""Rows of a large tenant, written straight into the tables: by requests they would take hours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from sqlalchemy import Table, select

from bench.page.gateway import PageGateway
from bench.processes import BenchError
from serving.api.services import Services
from serving.core.ids import new_id, now
from serving.core.principal import SCOPES_OF, STACK
from serving.core.uninterrupted import uninterrupted
from serving.store.audit_chain import GENESIS, event_hash, key_id
from serving.store.relational.tables import audit, conversations, keys, users

ROWS_OF_A_TRANSACTION = 5000
KINDS = ("keys", "users", "conversations", "audit events")


def fill(gateway: PageGateway, count: int) -> None:
    """Adds so many users with a key each to the stack's tenant, events to its log, and conversations of its operator.

    Raises `BenchError` unless the gateway finds the log's chain of hashes whole.
    """
    services = gateway.up.services
    for table, rows in (
        (users, _users(count)),
        (keys, _keys(count)),
        (conversations, _conversations(count, gateway.user)),
    ):
        gateway.up.loop.do(_insert(services, table, rows))
    gateway.up.loop.do(_append_events(services, count))
    with gateway.up.client() as http:
        verified = http.get("/v1/admin/audit/verify").raise_for_status().json()
    if not verified["valid"] or verified["events"] < count:
        raise BenchError(f"the audit log is not whole: {json.dumps(verified)[:500]}")


@uninterrupted
async def _insert(services: Services, table: Table, rows: Iterator[dict[str, Any]]) -> None:
    while some := list(islice(rows, ROWS_OF_A_TRANSACTION)):
        async with services.database.write() as connection:
            await connection.execute(table.insert(), some)


def _user(number: int) -> str:
    return f"user-{number:06}"


def _users(count: int) -> Iterator[dict[str, Any]]:
    at = now() - count
    for number in range(count):
        yield {"tenant": STACK, "user": _user(number), "role": "user", "groups": [], "created_at": at + number}


def _keys(count: int) -> Iterator[dict[str, Any]]:
    at, scopes = now() - count, sorted(SCOPES_OF["user"])
    for number in range(count):
        yield {
            "id": new_id("key"),
            "hash": f"{number:064}",
            "tenant": STACK,
            "user": _user(number),
            "name": f"laptop {number}",
            "scopes": scopes,
            "created_at": at + number,
        }


def _conversations(count: int, owner: str) -> Iterator[dict[str, Any]]:
    at = now() - count
    for number in range(count):
        yield {
            "id": new_id("conv"),
            "tenant": STACK,
            "user": owner,
            "metadata": {},
            "last_seq": 0,
            "last_turn": 0,
            "created_at": at + number,
            "last_active_at": at + number,
            "title": f"How high does the water rise on day {number}?",
        }


@uninterrupted
async def _append_events(services: Services, count: int) -> None:
    """Continues the chain as `serving.store.audit.add` does, without reading its end before each event."""
    secret = services.audit.key
    newest = select(audit.c.seq, audit.c.hash).where(audit.c.tenant == STACK).order_by(audit.c.seq.desc()).limit(1)
    async with services.database.write() as connection:
        last = (await connection.execute(newest)).first()
    seq, previous = (last.seq, last.hash) if last is not None else (0, GENESIS)
    at = int(now() * 1000)

    def events() -> Iterator[dict[str, Any]]:
        link = previous
        for number in range(seq + 1, seq + count + 1):
            row: dict[str, Any] = {
                "tenant": STACK,
                "seq": number,
                "at": at,
                "actor": f"{number % 1000:064}",
                "key_id": None,
                "action": "key.create",
                "target": f"key_{number}",
                "subject": None,
                "outcome": "ok",
                "request_id": None,
                "detail": {},
                "previous": link,
                "signed_with": key_id(secret),
            }
            link = event_hash(secret, row)
            yield {**row, "hash": link}

    await _insert(services, audit, events())
