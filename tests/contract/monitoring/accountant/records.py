"""Compares what is kept of each request with the ledger: the log, the captures, usage, ratings."""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from tests.contract.monitoring.accountant.client import Caller
from tests.contract.monitoring.accountant.ledger import NOBODY, Entry, Ledger
from tests.contract.monitoring.accountant.stack import ACME, ALIAS, DEFAULT, RELEASED
from tests.contract.monitoring.accountant.truth import Book
from tests.contract.monitoring.accountant.world import KEY_SECRET, World
from tests.wait import last

Found = Iterator[tuple[str, list[str]]]
CLOCKS_S = 0.002
"""How much two clocks of one host may differ."""


def compared(world: World, book: Book, log: list[dict[str, Any]]) -> Found:
    """Yields each record with what is wrong in it."""
    yield "log", _log(book.everything, log, _key_ids(world), _answers(world))
    yield "captures", _captures(world, book.everything)
    yield "ratings", _ratings(world, book.everything)
    yield from _usage(world, book.everything)


def _key_ids(world: World) -> dict[str, str]:
    """Returns the ids of keys by what is stored of them."""
    return {row["hash"]: row["id"] for row in _rows(world, 'select "hash", id from keys')}


def _answers(world: World) -> dict[str, str]:
    """Returns the ids of answers by those of their requests."""
    return {row["request_id"]: row["id"] for row in _rows(world, "select request_id, id from captures")}


def _log(ledger: Ledger, log: list[dict[str, Any]], keys: Mapping[str, str], answers: Mapping[str, str]) -> list[str]:
    wrong = []
    lines = Counter(line["request_id"] for line in log)
    wrong += [f"{id}: {count} lines" for id, count in lines.items() if count > 1]
    wrong += [f"{id}: nobody sent it" for id in lines.keys() - {entry.id for entry in ledger}]
    by_id = {line["request_id"]: line for line in log}
    for entry in ledger:
        line = by_id.get(entry.id)
        if line is None:
            wrong.append(f"{entry.id}: no line")
            continue
        for name, value in facts(entry, keys, answers).items():
            if line[name] != value:
                wrong.append(f"{entry.id}: {name} is {line[name]}, and {value} is true ({entry})")
        wrong += [f"{entry.id}: {problem}" for problem in _times(entry, line)]
    return wrong


def facts(entry: Entry, keys: Mapping[str, str], answers: Mapping[str, str]) -> dict[str, object]:
    """Returns what the log must say of a request, by the ids of `keys` and of stored `answers`."""
    known = bool(entry.read or entry.written)
    digest = hmac.digest(KEY_SECRET, entry.key.encode(), "sha256").hex()
    return {
        "request_id": entry.id,
        "method": entry.method,
        "route": entry.route,
        "status": entry.status,
        "outcome": entry.outcome,
        "code": entry.code or None,
        "tenant": entry.tenant,
        "key": keys[digest] if entry.tenant is not None else None,
        "model": entry.asked if entry.asked != NOBODY else None,
        "assistant": entry.assistant,
        "served": entry.served if entry.served != NOBODY else None,
        "engine_replica": entry.replica,
        "retries": entry.retries,
        "answer_id": entry.answer or answers.get(entry.id),
        "stream": entry.streamed,
        "finish_reason": entry.finish_reason,
        "prompt_tokens": entry.read if known else None,
        "completion_tokens": entry.written if known and entry.route != "/v1/embeddings" else None,
        "cost": {"amount": f"{entry.cost.normalize():f}", "currency": entry.currency} if entry.price_model else None,
        "trace_id": None,  # the gateways trace nothing
    }


TIMES = ("seconds", "overhead_seconds", "stages")
"""The fields whose truth is a range: `_times` compares them."""


def _times(entry: Entry, line: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the times of a line: it was written after the request was sent, and stages add up."""
    most = line["timestamp_ns"] / 1e9 - entry.sent_at + CLOCKS_S
    if not 0 < line["seconds"] <= most:
        yield f"took {line['seconds']} s of {most}"
    parts = sum(line["stages"].values())
    if not parts <= line["seconds"] + 1e-6 or not line["seconds"] <= parts + 1e-6 * (len(line["stages"]) + 1):
        yield f"stages take {parts} s of {line['seconds']}"
    if (generated := entry.generated_s) is not None and line["stages"]["decode"] < generated - CLOCKS_S:
        yield f"generated for {line['stages']['decode']} s of {generated}"
    if "first_token" in line["stages"] and not entry.wants_stream:
        yield "a whole answer has a first token"
    if not 0 <= line["overhead_seconds"] <= line["seconds"]:
        yield f"overhead is {line['overhead_seconds']} s of {line['seconds']}"


def _rows(world: World, query: str) -> list[sqlite3.Row]:
    connection = sqlite3.connect(f"file:{world.folder}/h.db?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def _captures(world: World, ledger: Ledger) -> list[str]:
    wrong = []
    rows = {row["request_id"]: row for row in _rows(world, "select * from captures")}
    if len(rows) != (total := _rows(world, "select count(*) as n from captures")[0]["n"]):
        wrong.append(f"{total} captures of {len(rows)} requests")
    for entry in ledger:
        row = rows.pop(entry.id, None)
        if not entry.captured or row is None:
            wrong += [f"{entry.id}: captured as {row and row['outcome']}, and {entry.captured!r} is true"] * (
                bool(entry.captured) != (row is not None)
            )
            continue
        known = bool(entry.read or entry.written)
        cost = float(entry.cost) if known and entry.price_model else None
        wanted = {
            "tenant": entry.tenant,
            "requested": entry.asked,
            "assistant": entry.assistant,
            "alias": entry.asked if entry.asked in (ALIAS, RELEASED) else entry.served,
            "model": entry.served,
            "outcome": entry.captured,
            "error_code": (entry.code or None) if entry.captured == "error" else None,
            "prompt_tokens": entry.read if known else None,
            "completion_tokens": entry.written if known else None,
            "cost": cost,
            "currency": entry.currency or None if cost is not None else None,
        }
        wrong += [
            f"{entry.id}: {name} is {row[name]}, and {value} is true"
            for name, value in wanted.items()
            if row[name] != value
        ]
    return wrong + [f"{id}: nobody asked" for id in rows]


def _ratings(world: World, ledger: Ledger) -> list[str]:
    kept = Counter(row["thumb"] for row in _rows(world, "select thumb from feedback"))
    given = Counter(entry.rated[1] for entry in ledger if entry.rated)
    return [f"{dict(kept)} are stored, and {dict(given)} were given"] * (kept != given)


def _usage(world: World, ledger: Ledger) -> Found:
    """What callers and admins are told of usage, by both gateways."""
    own = [("/v1/usage", None, world.operator, ledger.where(tenant=DEFAULT))]
    for tenant in (DEFAULT, ACME):
        own.append((f"/v1/admin/usage?tenant={tenant}", tenant, world.operator, ledger.where(tenant=tenant)))
    for path, tenant, caller, chosen in own:
        for by in ("model", *(("user",) if tenant == ACME else ())):
            asked = f"{path}{'&' if '?' in path else '?'}by={by}"
            wanted = _sums(chosen, by)
            shown = _shown(world, caller, asked, wanted)
            wrong = [
                f"{id}: shows {shown.get(id)}, and {wanted.get(id)} is true"
                for id in sorted(wanted.keys() | shown.keys())
                if wanted.get(id) != shown.get(id)
            ]
            yield asked, wrong


Sums = dict[str, tuple[int, int, int, tuple[tuple[str, Decimal], ...]]]


def _sums(ledger: Ledger, by: str) -> Sums:
    found: Sums = {}
    charged = ledger.where(charged=True)
    for id in {entry.asked if by == "model" else entry.user for entry in charged}:
        of = [entry for entry in charged if (entry.asked if by == "model" else entry.user) == id]
        costs: Counter[str] = Counter()
        for entry in of:
            if entry.currency:
                costs[entry.currency] += entry.cost  # type: ignore[assignment]
        money = tuple(sorted((currency, Decimal(amount)) for currency, amount in costs.items()))
        found[id] = (len(of), sum(e.read for e in of), sum(e.written for e in of), money)
    return found


def _shown(world: World, caller: Caller, path: str, wanted: Sums) -> Sums:
    """Asks until the other gateway has told the store what it counted, or for a while."""

    def ask() -> Sums:
        entry = world.client.entry(caller, path.partition("?")[0])
        data = json.loads(world.run(world.client.send(entry, caller, path=path)))
        return {
            each["id"]: (
                each["requests"],
                each["prompt_tokens"],
                each["completion_tokens"],
                tuple(sorted((cost["currency"], Decimal(cost["amount"])) for cost in each["cost"])),
            )
            for each in data["data"]
        }

    return last(ask, lambda shown: shown == wanted, 60)
