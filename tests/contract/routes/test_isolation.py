"""Nobody is told what is another's: two tenants with two users and an admin each, every route and every id.

Each user plants a word of its own in whatever is its own, and each tenant one in what its users share. No answer to
anybody holds a word of others, and a request about what is another's is answered as one about nothing at all.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
from prometheus_client import generate_latest

from serving.api.operations import OPERATIONS, Operation
from serving.config import (
    Alias,
    Assistant,
    CallAccess,
    Catalog,
    FactsMemory,
    RemoteModel,
    SummaryMemory,
    Target,
    VectorMemory,
)
from serving.core.principal import SCOPES_OF, Principal, Role
from tests.callers.identity import key_of
from tests.contract.campaigns.engine import Engine
from tests.contract.running import Gateway, Loop, engine, gateway

pytestmark = pytest.mark.long

SEED = int(os.environ.get("HEADRACE_ISOLATION_SEED", "7"))
KEPT = 40
"""Ids of a kind that requests name: the newest, so that most are still there."""


class Draw(random.Random):
    def flip(self) -> bool:
        return self.random() < 0.5


class Repeats(Engine):
    """Says back all that it was told, so that whatever reaches a prompt reaches its answer."""

    def said(self, messages: list[dict[str, Any]]) -> str:
        return " ".join(sorted(set(re.findall(r"planted[0-9a-z]+", json.dumps(messages)))))


class Alike:
    """Retrieval that finds no document, and to which all texts are alike: recall would find everybody's."""

    def __init__(self) -> None:
        self.call = self

    async def remote(self, method: str, *args: Any) -> Any:
        return (np.full((len(args[0]), 4), 0.5, np.float32), 1) if method == "embed" else []


@dataclass(frozen=True)
class User:
    tenant: str
    name: str
    key: str
    role: Role = "user"

    @property
    def own(self) -> str:
        """The word that stands in what is its own."""
        return f"planted{self.tenant}{self.name}"

    @property
    def shared(self) -> str:
        """The word that stands in what the tenant shares."""
        return f"planted{self.tenant}all"


@dataclass(frozen=True)
class Made:
    """An id, and who made it; `within` is the id of what it is a part of.

    `listed` says who may read it beside its maker: those of the list alone, or of the group too, or all of the tenant.
    An attachment has the list of its file, which names the file's owner, and can be made by another.
    """

    kind: str
    id: str
    by: User
    within: str = ""
    listed: Literal["", "alone", "group"] = ""
    readers: tuple[str, ...] = ()

    def shown_to(self, user: User) -> bool:
        """Admins may also remove what they may not read."""
        if self.kind in ADMINISTERED:
            return user.role == "admin" and user.tenant in (self.by.tenant, PLATFORM)
        if self.kind == "tenant":
            return user.tenant in (self.id, PLATFORM)
        return (
            (self.by == user and self.kind != "model")
            or (self.kind == "model" and AUDIENCE.get(self.id, user.tenant) == user.tenant)
            or (self.kind in SHARED and self.by.tenant == user.tenant and self._lists(user))
            or (self.kind == "quota" and user.tenant in (self.by.tenant, PLATFORM))
        )

    def _lists(self, user: User) -> bool:
        return (
            not self.listed
            or user.role == "admin"
            or user.name in self.readers
            or (self.listed == "group" and user.name in GROUP)
        )


PLATFORM = "default"
ADMINISTERED = {"user", "key", "erasure", "webhook"}
ADMIN_PATHS = {op.path for op in OPERATIONS if op.path.startswith("/v1/admin/")}
"""Half of the requests to these come from who may send them: else most of them would be refused."""
AGAIN = 5
"""How often a question is asked anew whose two answers differ: what ends in the background is counted in between."""
GROUP = {"u0", "root"}
"""Who is of the group `g`, which both tenants have."""

SHARED = {"file", "vector store", "attachment", "own assistant"}

EVERYBODYS = ("m", "facts", "recalls", "sums")
AUDIENCE = {
    f"{kind}onlyof{tenant}": tenant for kind in ("model", "alias", "behind", "assistant") for tenant in ("t0", "t1")
}
"""What users of one tenant alone may call: `behind` is an alias without access before a model that has it."""

KINDS = {
    "completion_id": "completion",
    "response_id": "response",
    "stream_id": "stream",
    "file_id": "file",
    "store_id": "vector store",
    "conversation_id": "conversation",
    "item_id": "item",
    "feedback_id": "feedback",
    "memory_id": "memory",
    "assistant_id": "own assistant",
    "model": "model",
    "user_id": "user",
    "key_id": "key",
    "tenant_id": "tenant",
    "erasure_id": "erasure",
    "batch_id": "batch",
    "webhook_id": "webhook",
}
"""What a parameter of a path names; another parameter names anything."""

UNKNOWN = {
    "completion": "chatcmpl_none",
    "response": "resp_none",
    "stream": "stream_" + "A" * 60,
    "file": "file_none",
    "attachment": "file_none",
    "vector store": "vs_none",
    "conversation": "conv_none",
    "item": "msg_none",
    "feedback": "fb_none",
    "memory": "mem_none",
    "own assistant": "asst_none",
    "user": "nobody",
    "key": "key_none",
    "tenant": "none",
    "erasure": "job_none",
    "batch": "batch_none",
    "webhook": "wh_none",
    "quota": "none",
    "model": "none",
}

MAKES = {
    "/v1/chat/completions": "completion",
    "/v1/responses": "response",
    "/v1/files": "file",
    "/v1/vector_stores": "vector store",
    "/v1/vector_stores/{store_id}/files": "attachment",
    "/v1/conversations": "conversation",
    "/v1/conversations/{conversation_id}/items": "item",
    "/v1/feedback": "feedback",
    "/v1/memories": "memory",
    "/v1/assistants": "own assistant",
    "/v1/admin/tenants": "tenant",
    "/v1/admin/users": "user",
    "/v1/admin/keys": "key",
    "/v1/admin/quotas": "quota",
    "/v1/admin/erasures": "erasure",
    "/v1/batches": "batch",
    "/v1/admin/webhooks": "webhook",
}


PLACES = {"item": "conversation_id", "attachment": "store_id"}
"""By the kind of a part: the parameter that names the whole."""


def _audited(made: Made, request: Request) -> bool:
    """Whether an id stands in the audit log that is read: who made files, stores and batches is on record there."""
    read = request.op.path == "/v1/admin/audit" and request.ids.get("tenant", request.user.tenant) == made.by.tenant
    return read and made.kind in {*SHARED, "batch"}


class World:
    """The gateway, its users, what they made, and what was answered."""

    def __init__(self, up: Gateway) -> None:
        self.up = up
        self.http = httpx.Client(base_url=up.url, timeout=60)
        self.users = [self._user(tenant, name) for tenant in ("t0", "t1") for name in ("u0", "u1")]
        self.users += [self._user(tenant, "root", "admin") for tenant in ("t0", "t1")]
        self.users.append(User(PLATFORM, "admin", up.key, "admin"))
        self.made: dict[str, deque[Made]] = defaultdict(lambda: deque(maxlen=KEPT))
        self.made["model"].extend(Made("model", name, self.users[0]) for name in (*EVERYBODYS, *AUDIENCE))
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.compared: Counter[str] = Counter()

    def _user(self, tenant: str, name: str, role: Role = "user") -> User:
        principal = Principal(tenant=tenant, user=name, key_id="")
        key = self.up.loop.do(key_of(self.up.services, principal, role=role))
        if name in GROUP:
            self.up.loop.do(self.up.services.users.update(principal, name, groups=["g"]))
        return User(tenant, name, key, role)

    def forbidden(self, user: User) -> set[str]:
        words = {other.own for other in self.users if other != user}
        return words | {other.shared for other in self.users if user.tenant not in (other.tenant, PLATFORM)}

    def send(self, request: Request) -> httpx.Response:
        """Sends a request and checks that its answer holds nothing of others."""
        answer = self.http.request(request.op.method, request.path, **request.parts())
        self.statuses[request.op.path, answer.status_code] += 1
        told = answer.text + repr(answer.headers)
        leaked: set[str | Made] = {word for word in self.forbidden(request.user) if word in told}
        asked = repr(request.ids)
        ids = [made for of_kind in self.made.values() for made in of_kind if not _audited(made, request)]
        leaked |= {m for m in ids if m.id in told and m.id not in asked and not m.shown_to(request.user)}
        assert not leaked, f"{request} was told {leaked}: {told}"
        assert answer.status_code < 500, f"{request} was told {told}"
        return answer

    def lacking(self) -> set[str]:
        """The paths that were not answered with success yet, or whose ids were not compared with unknown ones."""
        paths = {op.path for op in OPERATIONS if op.authenticated}
        ended = {"/v1/batches/{batch_id}/cancel"}  # the batches here end at once, and then there is nothing to cancel
        answered = {path for path, status in self.statuses if status == 200 or (status == 409 and path in ended)}
        never = {"/v1/responses/{response_id}/cancel"}  # is for responses in the background that have not ended
        return (paths - answered - never) | {path for path in paths if "{" in path} - set(self.compared)

    def learn(self, request: Request, answer: httpx.Response) -> None:
        """Takes note of what a request made."""
        if stream := answer.headers.get("headrace-stream"):
            self.made["stream"].append(Made("stream", stream, request.user))
        kind = MAKES.get(request.op.path) if request.op.method in ("POST", "PUT") else None
        if kind is None or answer.status_code != 200 or "json" not in answer.headers["content-type"]:
            return
        body = answer.json()
        by = request.user
        if (tenant := request.ids.get("tenant", by.tenant)) != by.tenant:
            by = next(user for user in self.users if user.tenant == tenant)
        for made in body["data"] if kind in ("item", "quota") else [body]:
            within = request.ids.get(PLACES.get(kind, ""), "")
            access = (made.get("headrace") or {}).get("access")
            listed: Any = "" if access is None else "group" if access["groups"] else "alone"
            id = made["quota_id" if kind == "quota" else "id"]
            users = () if access is None else tuple(access["users"])
            self.made[kind].append(Made(kind, id, by, within, listed, users))
        if kind == "conversation" and (items := request.json.get("items")):
            assert items
            listed = self.http.get(f"/v1/conversations/{body['id']}/items", headers=request.headers).json()["data"]
            self.made["item"].extend(Made("item", item["id"], request.user, body["id"]) for item in listed)


@dataclass
class Request:
    """One request; `ids` are those that it names, by where they stand."""

    user: User
    op: Operation
    ids: dict[str, str]
    fields: Callable[[dict[str, str]], dict[str, Any]]
    headers: dict[str, str]

    def __repr__(self) -> str:
        return f"{self.user.tenant}/{self.user.name}: {self.op.method} {self.path} {self.json} {self.ids}"

    @property
    def path(self) -> str:
        return re.sub(r"{(\w+)}", lambda m: self.ids[m[1]], self.op.path)

    @property
    def json(self) -> dict[str, Any]:
        return self.fields(self.ids)

    def parts(self) -> dict[str, Any]:
        fields = self.json
        of_tenant = {"tenant": self.ids["tenant"]} if "tenant" in self.ids else {}
        if self.op.upload:
            return {
                "headers": self.headers,
                "data": fields,
                "files": {"file": (f"{fields['text']}.txt", fields["text"])},
            }
        if self.op.method in ("POST", "PUT"):
            return {"headers": self.headers, "json": fields, "params": of_tenant}
        return {"headers": self.headers, "params": fields | of_tenant}


def says(word: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"I say {word}"}]


def attaches(file: str, word: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "file", "file": {"file_id": file}}, {"type": "text", "text": word}]}]


Fields = Callable[[dict[str, str]], dict[str, Any]]


def fields_of(op: Operation, user: User, draw: Draw) -> tuple[dict[str, str], Fields]:
    """Returns the kinds of ids that a request names in its body or query, by place, and what it says with them."""
    kinds, fields = _fields_of(op, user, draw)
    place = {"/v1/memories": "assistant"}.get(op.path, "model")
    if op.method != "POST" or op.path not in NAMING or draw.flip():
        return kinds, fields
    # Anything that is called by a name, whoever may call it.
    own = op.path in ASKING and draw.flip()
    return kinds | {
        place: "own assistant" if own else "model"
    }, lambda ids: fields({k: v for k, v in ids.items() if k != place}) | {place: ids[place]}


NAMING = {
    f"/v1/{name}"
    for name in ("chat/completions", "responses", "responses/input_tokens", "completions", "embeddings", "memories")
}
"""Routes whose bodies name a model or an assistant."""

ASKING = {f"/v1/{name}" for name in ("chat/completions", "responses", "responses/input_tokens")}
"""Those of them that an assistant answers."""


def _fields_of(op: Operation, user: User, draw: Draw) -> tuple[dict[str, str], Fields]:
    own, shared = user.own, user.shared
    route = f"{op.method} {op.path}"
    stream = draw.flip()
    if route == "POST /v1/chat/completions":
        base = {
            "model": draw.choice(EVERYBODYS),
            "messages": says(own),
            "store": True,
            "stream": stream,
            "metadata": {"w": own},
        }
        place = draw.choice(["", "conversation", "knowledge", "file"])
        if place == "knowledge":
            return {place: "vector store"}, lambda ids: base | {place: {"vector_store_ids": [ids[place]]}}
        if place == "file":
            return {place: "file"}, lambda ids: base | {"messages": attaches(ids[place], own)}
        return ({place: "conversation"} if place else {}), lambda ids: base | ids
    if route in ("POST /v1/responses", "POST /v1/responses/input_tokens"):
        base = {"model": draw.choice(EVERYBODYS), "input": f"I say {own}", "metadata": {"w": own}}
        if op.path == "/v1/responses":
            base |= {"stream": stream, "background": draw.flip()}
        else:
            del base["metadata"]
        place = draw.choice(["", "previous_response_id", "conversation", "tools"])
        if not place:
            return {}, lambda ids: base
        if place == "tools":
            search = {"type": "file_search"}
            return (
                {place: "vector store"},
                lambda ids: (
                    base
                    | {place: [search | {"vector_store_ids": [ids[place]]}], "include": ["file_search_call.results"]}
                ),
            )
        return {
            place: "response" if place.startswith("previous") else "conversation"
        }, lambda ids: base | {place: ids[place]}
    if route == "POST /v1/batches":
        base = {"endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {"w": own}}
        return {"input_file_id": "file"}, lambda ids: base | ids
    if route == "POST /v1/assistants":
        name = f"a{draw.randrange(10**9)}"
        base = {"name": name, "model": "m", "instructions": shared}
        if draw.flip():
            base["access"] = {"groups": ["g"]}
        if draw.flip():
            return {"store": "vector store"}, lambda ids: base | {"vector_store_ids": [ids["store"]]}
        return {}, lambda ids: base
    if route == "POST /v1/feedback":
        said = {"comment": own, "tags": [own], "thumb": "up"}
        type, kind = draw.choice([("response", "completion"), ("message", "item"), ("session", "conversation")])
        if kind == "completion" and draw.flip():
            return (
                {"target": kind, "rejected": kind},
                lambda ids: (
                    said
                    | {
                        "target": {"type": type, "id": ids["target"]},
                        "rejected": ids["rejected"],
                    }
                ),
            )
        return {"target": kind}, lambda ids: said | {"target": {"type": type, "id": ids["target"]}}
    if route == "POST /v1/files":
        form = {"purpose": draw.choice(["assistants", "batch"]), "text": shared}
        if draw.flip():
            return {}, lambda ids: form | {"access": '{"groups": ["g"]}'}
        return {}, lambda ids: form if stream else {"purpose": "assistants", "text": own, "access": "{}"}
    if route == "POST /v1/vector_stores":
        accesses: list[tuple[str, dict[str, Any]]] = [
            (own, {"access": {}}),
            (shared, {}),
            (shared, {"access": {"groups": ["g"]}}),
        ]
        word, access = draw.choice(accesses)
        base = {"name": word, "metadata": {"w": word}} | access
        return ({"file": "file"}, lambda ids: base | {"file_ids": [ids["file"]]}) if stream else ({}, lambda ids: base)
    if route == "POST /v1/vector_stores/{store_id}/files":
        return {"file": "file"}, lambda ids: {"file_id": ids["file"], "attributes": {"w": shared}}
    if route in ("POST /v1/admin/users", "POST /v1/admin/tenants"):
        name = f"made{draw.randint(0, 10**6)}{user.tenant}"
        return {}, lambda ids: {"id": name} | ({"groups": [shared]} if op.path.endswith("users") else {"name": shared})
    if route == "DELETE /v1/admin/quotas":
        return {"quota_id": "quota"}, lambda ids: {"quota_id": ids["quota_id"]}
    if op.method == "GET":
        names = {parameter.name for parameter in op.query}
        kinds = {}
        if "after" in names and op.path != "/v1/admin/audit" and draw.flip():
            kinds["after"] = KIND_OF_LIST.get(op.path, "item")
        if "target" in names and draw.flip():
            kinds["target"] = draw.choice(["completion", "conversation", "item"])
        if "model" in names and draw.flip():
            kinds["model"] = "model"
        return kinds, lambda ids: {name: ids[name] for name in kinds}
    said = SAID.get(route)
    assert said is not None or op.body is None, f"say in SAID what a request to {route} can be"
    made = said(own, shared) if said is not None else {}
    return {}, lambda ids: made


KIND_OF_LIST = {path: kind for path, kind in MAKES.items() if kind != "item"}

SAID: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "POST /v1/chat/completions/{completion_id}": lambda own, shared: {"metadata": {"w": own}},
    "POST /v1/completions": lambda own, shared: {"model": "m", "prompt": own},
    "POST /v1/embeddings": lambda own, shared: {"model": "all-minilm-l6-v2", "input": own},
    "POST /v1/vector_stores/{store_id}": lambda own, shared: {"name": shared, "metadata": {"w": shared}},
    "POST /v1/vector_stores/{store_id}/files/{file_id}": lambda own, shared: {"attributes": {"w": shared}},
    "POST /v1/vector_stores/{store_id}/search": lambda own, shared: {"query": own},
    "POST /v1/conversations": lambda own, shared: {"metadata": {"w": own}, "items": says(own)},
    "POST /v1/conversations/{conversation_id}": lambda own, shared: {"metadata": {"w": own}},
    "POST /v1/conversations/{conversation_id}/items": lambda own, shared: {"items": says(own)},
    "POST /v1/assistants/{assistant_id}": lambda own, shared: {"version": 1},
    "POST /v1/assistants/{assistant_id}/versions": lambda own, shared: {"model": "m", "instructions": shared},
    "POST /v1/memories": lambda own, shared: {"assistant": "facts", "text": own},
    "POST /v1/memories/{memory_id}": lambda own, shared: {"text": f"{own} still"},
    "POST /v1/admin/tenants/{tenant_id}": lambda own, shared: {"name": shared},
    "POST /v1/admin/users/{user_id}": lambda own, shared: {"groups": [shared]},
    "POST /v1/admin/keys": lambda own, shared: {"user": "u0", "name": shared},
    "POST /v1/admin/webhooks": lambda own, shared: {
        "url": f"https://{shared}.example/",
        "events": ["response.completed"],
    },
    "POST /v1/admin/webhooks/{webhook_id}/rotate": lambda own, shared: {"overlap_s": 0},
    "POST /v1/admin/keys/{key_id}/rotate": lambda own, shared: {"overlap_s": 0},
    "PUT /v1/admin/quotas": lambda own, shared: {
        "quotas": [{"subject": "user", "id": "u0", "window": "day", "measure": "requests", "limit": 10**9}]
    },
    "POST /v1/admin/erasures": lambda own, shared: {"user": "u0", "dry_run": True},
}
"""What is said to other routes, with the word of the user's own and that of its tenant."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    loop = Loop()
    with engine(loop, Repeats().app()) as port:
        model = RemoteModel(name="m", url=f"http://127.0.0.1:{port}/v1", tokenizer="vllm")
        memories = {
            "facts": FactsMemory(),
            "recalls": VectorMemory(scope="principal", turns=0),
            "sums": SummaryMemory(),
        }
        assistants = [Assistant(name=name, model="m", memory=memory) for name, memory in memories.items()]
        models, aliases = [model], []
        for tenant in ("t0", "t1"):
            access = CallAccess(tenants=(tenant,))
            of, target = model.model_copy(update={"access": access}), Target(model="m")
            models.append(of.model_copy(update={"name": f"modelonlyof{tenant}"}))
            aliases.append(Alias(name=f"aliasonlyof{tenant}", targets=(target,), access=access))
            aliases.append(Alias(name=f"behindonlyof{tenant}", targets=(Target(model=f"modelonlyof{tenant}"),)))
            name = f"assistantonlyof{tenant}"
            assistants.append(Assistant(name=name, model="m", memory=FactsMemory(), access=access))
        catalog = Catalog(models=tuple(models), aliases=tuple(aliases), assistants=tuple(assistants))
        with gateway(loop, tmp_path, catalog, retrieval=Alike()) as up:
            yield World(up)
    loop.stop()


def settled(answer: httpx.Response) -> tuple[int, str]:
    """What does not depend on when an answer was given, and under which new id."""
    stream = r"\bstream_[0-9a-zA-Z_-]+"
    kinds = "chatcmpl|resp|msg|conv|fb|vs|file|mem|asst|asstv|rs|cmpl|key|job|batch"
    text = re.sub(rf"{stream}|\b({kinds})[_-][0-9a-zA-Z]+", "ID", answer.text)
    return answer.status_code, re.sub(r"\d{9,}(\.\d+)?|\d+\.\d+", "N", text)


def alike(one: httpx.Response, other: httpx.Response) -> bool:
    return (settled(one), one.headers.keys()) == (settled(other), other.headers.keys())


def unlike(made: Made | None, ids: dict[str, str]) -> str:
    """Returns an id of the same kind that nothing has; another one for each of `ids`."""
    assert made is not None
    return f"{UNKNOWN[made.kind]}{sorted(set(ids.values())).index(made.id)}"


def ask(world: World, draw: Draw, op: Operation) -> None:
    """Sends one request; one about what is another's is sent about nothing at all too, and answered alike."""
    those = [user for user in world.users if op.scope in SCOPES_OF[user.role] or user.tenant == PLATFORM]
    user = draw.choice(those if draw.flip() and op.path in ADMIN_PATHS else world.users)
    of = user  # whose words are said: what is made in another tenant is that tenant's to read
    if named_tenant := draw.flip() and any(parameter.name == "tenant" for parameter in op.query):
        of = draw.choice(world.users)
    kinds, fields = fields_of(op, of, draw)
    named = kinds | {name: KINDS.get(name, "") for name in re.findall(r"{(\w+)}", op.path)}
    if "store_id" in named and "file_id" in named:
        named["file_id"] = "attachment"
    chosen = {place: choose(world, draw, kind, user) for place, kind in named.items()}
    for made in list(chosen.values()):  # a part is asked for where it is
        if made is not None and (place := PLACES.get(made.kind, "")) in chosen:
            chosen[place] = Made(KINDS[place], made.within, made.by)
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
        for _ in range(AGAIN if op.method == "GET" else 0):
            if alike(answer, unknown):
                break
            answer, unknown = world.send(request), world.send(other)
        told = f"{request}: {answer.text} tells from {unknown.text} that it is there"
        assert alike(answer, unknown), told
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
@pytest.mark.parametrize("requests", [1_500, pytest.param(50_000, marks=pytest.mark.soak)])
def test_nobody_is_told_what_is_anothers(world: World, requests: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "headrace")
    print(f"HEADRACE_ISOLATION_SEED={SEED}")
    draw = Draw(SEED)
    for op in islice(in_turn(draw), requests):
        ask(world, draw, op)
    # A campaign in which all is refused shows nothing.
    for op in islice(in_turn(draw), requests):
        if not (lacking := world.lacking()):
            break
        if op.path in lacking or op.path in MAKES:
            ask(world, draw, op)
    assert not lacking
    planted = {word for user in world.users for word in (user.own, user.shared)}
    assert not {word for word in planted if word in generate_latest().decode()}, "a metric tells"
    assert not {word for word in planted if word in caplog.text}, "a log tells"
    print(f"{dict(sorted(world.statuses.items()))}, of which compared {dict(world.compared)}")
