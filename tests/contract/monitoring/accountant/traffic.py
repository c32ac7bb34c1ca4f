"""The script of the accountant's traffic: one round of it has every kind of request and every end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.contract.monitoring.accountant.client import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    FEEDBACK,
    MODELS,
    RESPONSES,
    Caller,
    Client,
    body_of,
    until,
)
from tests.contract.monitoring.accountant.ledger import Entry
from tests.contract.monitoring.accountant.stack import (
    ACME,
    ALIAS,
    AWAY,
    CLERK,
    GONE,
    HERE,
    HOSTED,
    LARGE,
    LEASED,
    PLACES,
    READER,
    RELEASED,
    SHARE,
    SMALL,
    VECTORS,
)

WARNED_LIMIT = 10
"""Requests a month of the caller who is warned."""
WARNED_ROUNDS = (9, 1)
"""So many of them it sends in each round: the last of each is beyond the share from which answers warn."""


@dataclass
class Callers:
    """Who sends: an operator, two users of another tenant with quotas and one without, and a stranger."""

    operator: Caller
    ann: Caller
    warned: Caller
    poor: Caller
    stranger: Caller


async def settle(client: Client, operator: Caller) -> Callers:
    """Makes the other tenant with its users, keys and quotas."""
    await _make(client, operator, "/v1/admin/tenants", {"id": ACME}, own=True)
    made = {}
    for user in ("ann", "warned", "poor"):
        await _make(client, operator, "/v1/admin/users", {"id": user, "role": "user"})
        made[user] = Caller(ACME, user, (await _make(client, operator, "/v1/admin/keys", {"user": user}))["key"])
    await _make(client, operator, "/v1/hub/releases", {"alias": RELEASED, "target": LARGE, "share": SHARE}, own=True)
    quotas = [
        {"subject": "user", "id": "warned", "window": "month", "measure": "requests", "limit": WARNED_LIMIT},
        {"subject": "user", "id": "poor", "window": "day", "measure": "tokens", "limit": 0},
    ]
    await _make(client, operator, "/v1/admin/quotas", {"quotas": quotas}, method="PUT")
    return Callers(operator, **made, stranger=Caller(None))


async def _make(
    client: Client, operator: Caller, route: str, body: object, method: str = "POST", *, own: bool = False
) -> dict[str, str]:
    path = route if own else f"{route}?tenant={ACME}"
    entry = client.entry(operator, route)
    data = await client.send(entry, operator, body, method=method, path=path)
    assert entry.status == 200, (route, entry.status, data)
    found: dict[str, str] = json.loads(data)
    return found


Held = Callable[[], Awaitable[None]]
"""Called while `PLACES` requests are under way and one waits."""


async def play(client: Client, callers: Callers, waiting: Callable[[], int], round: int, held: Held) -> None:
    """Sends one round. `waiting` is the number of requests that wait in a gateway, as it says itself."""
    await _answers(client, callers)
    await _replicas(client, callers)
    await _release(client, callers)
    await _mistakes(client, callers)
    await _failures(client, callers)
    await _hang_ups(client, callers)
    await _polls(client, callers)
    await _repetitions(client, callers)
    await _ratings(client, callers)
    await _quotas(client, callers, WARNED_ROUNDS[round])
    await _overload(client, callers, waiting, held)


async def _answers(client: Client, callers: Callers) -> None:
    for caller, times in ((callers.operator, 2), (callers.ann, 1)):
        for model in (SMALL, LARGE, CLERK, *([ALIAS] * 4)):
            for stream in (False, True):
                for gateway in range(times):
                    script = client.script(reads=11 + gateway, writes=5)
                    await _ok(client.ask(caller, model, script, stream=stream, gateway=gateway))
    for stream in (False, True):
        await _ok(client.ask(callers.ann, LARGE, client.script(writes=101), stream=stream))
        await _ok(client.ask(callers.ann, SMALL, client.script(writes=3), stream=stream, choices=2))
        await _ok(client.ask(callers.ann, LARGE, client.script(), stream=stream, route=COMPLETIONS))
        await _ok(client.ask(callers.operator, ALIAS, client.script(), stream=stream, route=RESPONSES, gateway=1))
        await _ok(client.ask(callers.ann, CLERK, client.script(), stream=stream, route=RESPONSES))
    scripts = [client.script(reads=6), client.script(reads=8)]
    entry = client.question(callers.ann, VECTORS, scripts[0], EMBEDDINGS, stream=False)
    body = {"model": VECTORS, "input": [each.text() for each in scripts]}
    await client.send(entry, callers.ann, body)
    _expect(entry, "ok", "")
    entry.read = 14


async def _replicas(client: Client, callers: Callers) -> None:
    """Asks the model with two replicas; whoever leases the one that is gone is answered by the other."""
    for gateway in range(2):
        leased = list(LEASED)
        for stream in (True, False):
            entry = await client.ask(callers.ann, HOSTED, client.script(), stream=stream, gateway=gateway)
            _expect(entry, "ok", "")
            entry.retries = leased.index(HERE)
            assert set(leased[: entry.retries]) <= {GONE}
            entry.replica, leased = HERE, leased[entry.retries + 1 :]


async def _release(client: Client, callers: Callers) -> None:
    """Asks the alias with a release: whoever answers, one answer is truncated, one breaks, and two are rated."""
    for gateway in range(2):
        for stream in (True, False):
            for _ in range(3):
                await _ok(client.ask(callers.ann, RELEASED, client.script(), stream=stream, gateway=gateway))
    entry = await client.ask(callers.ann, RELEASED, client.script(ends="length"), stream=True)
    _expect(entry, "ok", "")
    entry = await client.ask(callers.ann, RELEASED, client.script(holds="middle", breaks=True), stream=True)
    _expect(entry, "error", "engine_error")
    entry.captured = "error"
    rated = [entry for entry in client.ledger.where(asked=RELEASED, captured="completed") if not entry.got][:2]
    for answer, thumb in zip(rated, ("up", "down"), strict=True):
        await _rate(client, callers, answer, thumb)


async def _rate(client: Client, callers: Callers, answer: Entry, thumb: str) -> None:
    rating = {"target": {"type": "response", "id": answer.answer}, "thumb": thumb}
    entry = client.entry(callers.ann, FEEDBACK, rated=("response", thumb))
    await client.send(entry, callers.ann, rating)
    _expect(entry, "ok", "")
    answer.got = answer.got or thumb


async def _mistakes(client: Client, callers: Callers) -> None:
    ask = body_of(CHAT, "nothing", client.script(), stream=False)
    for gateway in range(2):
        entry = client.entry(callers.ann, CHAT)
        await client.send(entry, callers.ann, ask, gateway=gateway)
        _expect(entry, "refused", "model_not_found")
    entry = client.entry(callers.operator, CHAT)
    await client.send(entry, callers.operator, {"model": SMALL, "messages": "none"})
    _expect(entry, "refused")
    entry = client.entry(callers.stranger, CHAT)
    await client.send(entry, callers.stranger, ask, headers={"authorization": "Bearer nonsense"})
    _expect(entry, "refused", "invalid_api_key")
    for path in ("/nowhere", "/v1/nowhere"):
        entry = client.entry(callers.stranger, "unknown")
        await client.send(entry, callers.stranger, path=path)
        _expect(entry, "refused", "not_found")


async def _failures(client: Client, callers: Callers) -> None:
    for stream in (False, True):
        entry = await client.ask(callers.ann, AWAY, client.script(), stream=stream)
        _expect(entry, "error", "engine_error")
        entry.captured = "error"
        entry = await client.ask(callers.operator, LARGE, client.script(fails=500), stream=stream)
        _expect(entry, "error", "engine_error")
        entry.captured = "error"
        entry = await client.ask(callers.ann, READER, client.script(), stream=stream)
        _expect(entry, "error", "unavailable")
    entry = await client.ask(callers.operator, SMALL, client.script(holds="middle", breaks=True), stream=True)
    _expect(entry, "error", "engine_error")
    assert entry.streamed
    entry.captured = "error"


async def _hang_ups(client: Client, callers: Callers) -> None:
    for caller, model in ((callers.operator, LARGE), (callers.ann, CLERK)):
        await client.hang_up(caller, model, client.script(holds="first"), stream=False)
        # A gateway sends the head of a stream with its first piece.
        await client.hang_up(caller, model, client.script(holds="first"))
        await client.hang_up(caller, model, client.script(holds="middle"), gateway=1)
        script = client.script(holds="end")
        entry = await client.hang_up(caller, model, script)
        entry.read, entry.written = script.reads, script.writes  # the engine had said so


async def _polls(client: Client, callers: Callers) -> None:
    for gateway in range(2):
        for _ in range(20):
            await client.send(client.entry(callers.operator, MODELS), callers.operator, gateway=gateway)
        for _ in range(10):
            await client.send(client.entry(callers.stranger, "/healthz"), callers.stranger, gateway=gateway)
        for _ in range(5):
            await client.send(client.entry(callers.ann, "/v1/usage"), callers.ann, gateway=gateway)


async def _repetitions(client: Client, callers: Callers) -> None:
    for stream in (False, True):
        script = client.script()
        headers = {"idempotency-key": f"key-{script.number}"}
        await _ok(client.ask(callers.ann, SMALL, script, stream=stream, headers=headers))
        for gateway in range(2):  # nobody is asked again: neither tokens nor a quota's request are used
            entry = client.entry(callers.ann, CHAT)
            body = body_of(CHAT, SMALL, script, stream=stream)
            await client.send(entry, callers.ann, body, headers=headers, gateway=gateway)
            _expect(entry, "ok", "")
            entry.streamed = False  # it is sent as a whole, also where it was a stream
    assert len(client.engine.works[script.number]) == 1


async def _ratings(client: Client, callers: Callers) -> None:
    answers = [entry for entry in client.ledger.where(user="ann", outcome="ok", route=CHAT) if entry.answer]
    for thumb, times in (("up", 3), ("down", 1)):
        for answer in answers[-times:]:
            await _rate(client, callers, answer, thumb)
    entry = client.entry(callers.ann, FEEDBACK)
    await client.send(entry, callers.ann, {"target": {"type": "response", "id": "chatcmpl-none"}, "thumb": "up"})
    _expect(entry, "refused", "not_found")


async def _quotas(client: Client, callers: Callers, times: int) -> None:
    for _ in range(times):
        await _ok(client.ask(callers.warned, SMALL, client.script()))
    for stream in (False, True):
        entry = await client.ask(callers.poor, SMALL, client.script(), stream=stream)
        _expect(entry, "refused", "insufficient_quota")
        entry.charged, entry.quota = False, ("tokens", "day")


async def _overload(client: Client, callers: Callers, waiting: Callable[[], int], held: Held) -> None:
    end = await client.hold(callers.operator, PLACES)
    await client.hang_up(callers.ann, LARGE, client.script(), queued=lambda: waiting() == 1)
    await until(lambda: waiting() == 0, "who hung up does not wait")
    queued = asyncio.create_task(client.ask(callers.ann, SMALL, client.script(), stream=True))
    await until(lambda: waiting() == 1, "one waits")
    for stream in (False, True):
        entry = await client.ask(callers.ann, LARGE, client.script(), stream=stream)
        _expect(entry, "refused", "overloaded")
    await held()
    await end()
    _expect(await queued, "ok", "")


async def _ok(asked: Awaitable[Entry]) -> None:
    _expect(await asked, "ok", "")


def _expect(entry: Entry, outcome: str, code: str | None = None) -> None:
    """Asserts that a request ended as the script means it to."""
    got = (entry.outcome, entry.code)
    assert got[0] == outcome, (entry, got)
    assert code is None or got[1] == code, (entry, got)
