"""No user is told what belongs to another: two tenants with two users and an admin each, every route and every id.

Each user plants a word of its own in whatever is its own, and each tenant one in what its users share. No answer to
anybody holds a word of others, and a request about what is another's is answered as one about nothing at all.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client import generate_latest

from serving.api.operations import OPERATIONS, Operation
from serving.api.routes.hub import versions
from serving.config import (
    AdapterBounds,
    Alias,
    Assistant,
    CallAccess,
    Catalog,
    FactsMemory,
    LlamaCppModel,
    Managed,
    RemoteModel,
    SummaryMemory,
    Target,
    Tuning,
    VectorMemory,
)
from serving.core.principal import SCOPES_OF
from serving.hub.adapter import AdapterFacts
from serving.retrieval.types import Attribution
from tests.contract.campaigns.engine import Engine
from tests.contract.routes.isolation.fields import Draw, fields_of
from tests.contract.routes.isolation.world import (
    ADMIN_PATHS,
    KINDS,
    MAKES,
    PLACES,
    PLATFORM,
    UNKNOWN,
    Made,
    Request,
    User,
    World,
)
from tests.contract.running import Loop, engine, gateway
from tests.hub.adapters import write_base
from tests.servers.pooling import PoolingEngine

pytestmark = pytest.mark.long

SEED = int(os.environ.get("HEADRACE_ISOLATION_SEED", "7"))

AGAIN = 5
"""How often a question is asked anew whose two answers differ: what ends in the background is counted in between."""


class Repeats(Engine):
    """Says back all that it was told, so that whatever reaches a prompt reaches its answer."""

    def said(self, messages: list[dict[str, Any]]) -> str:
        return " ".join(sorted(set(re.findall(r"planted[0-9a-z]+", json.dumps(messages)))))


class Alike:
    """Retrieval that finds no document, and to which all texts are alike: recall would find everybody's."""

    def __init__(self) -> None:
        self.call = self

    async def remote(self, method: str, *args: Any) -> Any:
        if method == "attribute":  # of an answer about files
            return Attribution((), ())
        return (np.full((len(args[0]), 4), 0.5, np.float32), 1) if method == "embed" else []


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    loop = Loop()
    with engine(loop, Repeats().app()) as port, engine(loop, PoolingEngine().application()) as pooling:
        model = RemoteModel(name="m", url=f"http://127.0.0.1:{port}/v1", tokenizer="vllm")
        memories = {
            "facts": FactsMemory(),
            "recalls": VectorMemory(scope="principal", turns=0),
            "sums": SummaryMemory(),
        }
        assistants = [Assistant(name=name, model="m", memory=memory) for name, memory in memories.items()]
        models = [model, RemoteModel(name="ranks", url=f"http://127.0.0.1:{pooling}/v1", task="rerank")]
        aliases = []
        for tenant in ("t0", "t1"):
            access = CallAccess(tenants=(tenant,))
            of, target = model.model_copy(update={"access": access}), Target(model="m")
            models.append(of.model_copy(update={"name": f"modelonlyof{tenant}"}))
            aliases.append(Alias(name=f"aliasonlyof{tenant}", targets=(target,), access=access))
            aliases.append(Alias(name=f"managedonlyof{tenant}", managed=Managed(base="m"), access=access))
            aliases.append(Alias(name=f"behindonlyof{tenant}", targets=(Target(model=f"modelonlyof{tenant}"),)))
            name = f"assistantonlyof{tenant}"
            assistants.append(Assistant(name=name, model="m", memory=FactsMemory(), access=access))
        base = f"file://{write_base(tmp_path / 'base.gguf')}"
        models.append(LlamaCppModel(name="based", source=base, adapters=AdapterBounds()))
        # In this process: a child for each adapter would take longer than all requests.
        monkeypatch.setattr(versions, "prepare_adapter", lambda folder, base: AdapterFacts(1, 1, 1))
        catalog = Catalog(models=tuple(models), aliases=tuple(aliases), assistants=tuple(assistants))
        with gateway(loop, tmp_path, catalog, retrieval=Alike(), tuning=Tuning(enabled=True)) as up:
            yield World(up)
    loop.stop()


def settled(answer: httpx.Response, named: Iterable[str]) -> tuple[int, str]:
    """What does not depend on when an answer was given, under which new id, and what it repeats of the request."""
    stream = r"\bstream_[0-9a-zA-Z_-]+"
    kinds = "mver|dset|chatcmpl|resp|msg|conv|fb|vs|file|mem|asst|asstv|pmpt|pmptv|rs|cmpl|key|job|batch|vsfb"
    kinds += "|suite|eval|roll|share"
    told = re.sub("|".join(f"`{re.escape(name)}`" for name in named), "`NAMED`", answer.text)
    text = re.sub(rf'{stream}|\b({kinds})[_-][0-9a-zA-Z]+|(?<="request_id":")\w+', "ID", told)
    return answer.status_code, re.sub(r"\d{9,}(\.\d+)?|\d+\.\d+", "N", text)


def alike(one: httpx.Response, other: httpx.Response, named: Iterable[str]) -> bool:
    return (settled(one, named), one.headers.keys()) == (settled(other, named), other.headers.keys())


def unlike(made: Made | None, ids: dict[str, str]) -> str:
    """Returns an id of the same kind that nothing has; another one for each of `ids`."""
    assert made is not None
    return f"{UNKNOWN[made.kind]}{sorted(set(ids.values())).index(made.id)}"


CHOSEN = {"label": ("production", "staging"), "version": ("1", "production")}
"""Names within a prompt: what its writer chooses, and its list repeats."""


def ask(world: World, draw: Draw, op: Operation) -> None:
    """Sends one request; one about what is another's is sent about nothing at all too, and answered alike."""
    those = [user for user in world.users if op.scope in SCOPES_OF[user.role] or user.tenant == PLATFORM]
    user = draw.choice(those if draw.flip() and op.path in ADMIN_PATHS else world.users)
    of = user  # whose words are said: what is made in another tenant is that tenant's to read
    if named_tenant := draw.flip() and any(parameter.name == "tenant" for parameter in op.query):
        of = draw.choice(world.users)
    kinds, fields = fields_of(op, of, draw)
    named = kinds | {name: KINDS.get(name, "") for name in re.findall(r"{(\w+)}", op.path)}
    if op.path.startswith("/v1/admin/jobs/"):
        named["job_id"] = "job"
    if "store_id" in named and "file_id" in named:
        named["file_id"] = "attachment"
    chosen = {place: choose(world, draw, kind, user) for place, kind in named.items()}
    for made in list(chosen.values()):  # a part is asked for where it is
        if made is not None and (place := PLACES.get(made.kind, "")) in chosen:
            chosen[place] = Made(KINDS[place], made.within, made.by)
    for place in chosen.keys() & CHOSEN.keys():
        chosen[place] = Made("name", draw.choice(CHOSEN[place]), user)
    if named_tenant:
        chosen["tenant"] = Made("tenant", of.tenant, of)
    ids = {place: made.id if made is not None else "none_0" for place, made in chosen.items()}
    headers = {"Authorization": f"Bearer {user.key}"}
    if op.headers and draw.flip():
        headers["headrace-resumable"] = "true"
    request = Request(user, op, ids, fields, headers)
    foreign = {place for place, made in chosen.items() if made is not None and not made.shown_to(user)}
    if op.once is not None and draw.flip() and not foreign:
        headers["Idempotency-Key"] = f"k{draw.randrange(100)}"  # the same few for everybody
    answer = world.send(request)
    if foreign:
        none = ids | {place: unlike(chosen[place], ids) for place in foreign}
        other = Request(user, op, none, fields, headers)
        unknown = world.send(other)
        named_ids = {*ids.values(), *none.values()}
        for _ in range(AGAIN if op.method == "GET" or op.path == "/mcp" else 0):
            if alike(answer, unknown, named_ids):
                break
            answer, unknown = world.send(request), world.send(other)
        told = f"{request}: {answer.text} tells from {unknown.text} that it is there"
        assert alike(answer, unknown, named_ids), told
        world.compared[op.path] += 1
    world.learn(request, answer)


def choose(world: World, draw: Draw, kind: str, user: User) -> Made | None:
    """Returns something of the kind, or of any kind, whoever made it."""
    there = world.made[kind] if kind else [m for of_kind in world.made.values() for m in of_kind]
    anybodys = draw.flip()
    there = [made for made in there if anybodys or made.shown_to(user)]
    return draw.choice(there) if there else None


def in_turn(draw: Draw) -> Iterator[Operation]:
    """All operations, shuffled anew each time, so that each comes as often; before every second one, a maker."""
    operations = [op for op in OPERATIONS if op.authenticated]
    makers = [op for op in operations if op.method == "POST" and op.path in MAKES]
    while True:
        for number, op in enumerate(draw.sample(operations, len(operations))):
            if number % 2 == 0:
                yield draw.choice(makers)
            yield op


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "requests", [700, pytest.param(1_500, marks=pytest.mark.full), pytest.param(50_000, marks=pytest.mark.soak)]
)
def test_no_route_leaks_another_users_data(world: World, requests: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "headrace")
    print(f"HEADRACE_ISOLATION_SEED={SEED}")
    draw = Draw(SEED)
    for op in islice(in_turn(draw), requests):
        ask(world, draw, op)
    tools = next(op for op in OPERATIONS if op.path == "/mcp")
    for _ in range(requests // 7):  # as many routes as there are tools
        ask(world, draw, tools)
    assert world.compared[tools.path] > requests // 50
    # A campaign in which all is refused shows nothing.
    for op in islice(in_turn(draw), 10 * requests):
        if not (lacking := world.lacking()):
            break
        if op.path in MAKES or any(path.startswith(op.path) for path in lacking):  # with the list that names its ids
            ask(world, draw, op)
            ask(world, draw, draw.choice([each for each in OPERATIONS if each.path in lacking]))
    assert not lacking, sorted(answered for answered in world.statuses if answered[0] in lacking)
    planted = {word for user in world.users for word in (user.own, user.shared)}
    told = [line for line in generate_latest().decode().splitlines() if any(word in line for word in planted)]
    assert not told, "a metric tells"
    told = [line for line in caplog.text.splitlines() if any(word in line for word in planted)]
    assert not told, "a log tells"
    print(f"{dict(sorted(world.statuses.items()))}, of which compared {dict(world.compared)}")
