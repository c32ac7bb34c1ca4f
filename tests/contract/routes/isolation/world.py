"""The users, what each of them made, and the requests by which they look for what others made."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from serving.api.operations import OPERATIONS, Operation
from serving.core.principal import Principal, Role
from serving.hub.names import GGUF
from tests.callers.identity import key_of
from tests.contract.running import Gateway

ADAPTER = b"GGUF of which no check is part of this campaign"

KEPT = 40
"""Ids of a kind that requests name: the newest, so that most are still there."""


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
        """Admins may also remove what they may not read; each key is one of `u0`, who may read it too."""
        if self.kind == "key" and (user.tenant, user.name) == (self.by.tenant, "u0"):
            return True
        if self.kind in ADMINISTERED:
            return user.role == "admin" and user.tenant in (self.by.tenant, PLATFORM)
        if self.kind == "request":  # its id is the answer's, which its maker knows
            return self.by == user or (user.role == "admin" and user.tenant in (self.by.tenant, PLATFORM))
        if self.kind == REVIEWED:  # no admin has the scope
            return user.tenant == PLATFORM or self.by == user
        if self.kind in HUB:
            return user.role == "admin" and user.tenant == self.by.tenant
        if self.kind == "artefact":
            return True
        if self.kind == "tenant":
            return user.tenant in (self.id, PLATFORM)
        return (
            (self.by == user and self.kind != "model")
            or (self.kind == "model" and AUDIENCE.get(self.id, user.tenant) == user.tenant)
            or (self.kind in SHARED and self.by.tenant == user.tenant and self._lists(user))
            or (self.kind == "share" and self.by.tenant == user.tenant)
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
ADMINISTERED = {"user", "key", "erasure", "webhook", "job"}
REVIEWED = "capture"
ADMIN_PATHS = {op.path for op in OPERATIONS if op.path.startswith(("/v1/admin/", "/v1/hub/"))}
"""Half of the requests to these come from who may send them: else most of them would be refused."""
GROUP = {"u0", "root"}
"""Who is of the group `g`, which both tenants have."""

HUB = {"version", "suite", "evaluation", "release", "data set", "tuning job"}
SHARED = {"file", "vector store", "attachment", "file batch", "own assistant", "prompt"}

EVERYBODYS = ("m", "facts", "recalls", "sums")
AUDIENCE = {
    f"{kind}onlyof{tenant}": tenant
    for kind in ("model", "alias", "managed", "behind", "assistant")
    for tenant in ("t0", "t1")
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
    "share_id": "share",
    "assistant_id": "own assistant",
    "prompt_id": "prompt",
    "model": "model",
    "user_id": "user",
    "capture_id": "capture",
    "request_id": "request",
    "key_id": "key",
    "tenant_id": "tenant",
    "erasure_id": "erasure",
    "batch_id": "batch",
    "file_batch_id": "file batch",
    "webhook_id": "webhook",
    "version_id": "version",
    "dataset_id": "data set",
    "job_id": "tuning job",
    "artefact": "artefact",
    "suite_id": "suite",
    "evaluation_id": "evaluation",
    "release_id": "release",
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
    "share": "share_none",
    "own assistant": "asst_none",
    "prompt": "pmpt_none",
    "user": "nobody",
    "capture": "chatcmpl_none",
    "request": "chatcmpl_none",
    "key": "key_none",
    "tenant": "none",
    "erasure": "job_none",
    "batch": "batch_none",
    "file batch": "vsfb_none",
    "webhook": "wh_none",
    "version": "mver_none",
    "suite": "suite_none",
    "evaluation": "eval_none",
    "release": "roll_none",
    "data set": "dset_none",
    "tuning job": "job_none",
    "job": "job_none",
    "quota": "none",
    "model": "none",
}

MAKES = {
    "/v1/chat/completions": "completion",
    "/v1/messages": "completion",
    "/v1/responses": "response",
    "/v1/files": "file",
    "/v1/vector_stores": "vector store",
    "/v1/vector_stores/{store_id}/files": "attachment",
    "/v1/conversations": "conversation",
    "/v1/conversations/{conversation_id}/fork": "conversation",
    "/v1/conversations/{conversation_id}/items": "item",
    "/v1/feedback": "feedback",
    "/v1/memories": "memory",
    "/v1/shares": "share",
    "/v1/assistants": "own assistant",
    "/v1/prompts": "prompt",
    "/v1/admin/tenants": "tenant",
    "/v1/admin/users": "user",
    "/v1/admin/keys": "key",
    "/v1/admin/quotas": "quota",
    "/v1/admin/erasures": "erasure",
    "/v1/batches": "batch",
    "/v1/vector_stores/{store_id}/file_batches": "file batch",
    "/v1/admin/webhooks": "webhook",
    "/v1/hub/versions": "version",
    "/v1/hub/suites": "suite",
    "/v1/hub/evaluations": "evaluation",
    "/v1/hub/releases": "release",
    "/v1/hub/datasets": "data set",
    "/v1/hub/jobs": "tuning job",
}


PLACES = {"item": "conversation_id", "attachment": "store_id", "file batch": "store_id"}
"""By the kind of a part: the parameter that names the whole."""


def _audited(made: Made, request: Request) -> bool:
    """Whether an id stands in the audit log or the list of jobs that is read: who made files, stores and batches is on
    record there, and so is who reviewed an answer, shared a conversation, deleted a memory, or looked up a request by
    its answer; jobs are known by their ids.
    """
    read = (
        request.op.path in ("/v1/admin/audit", "/v1/admin/audit/export", "/v1/admin/jobs")
        and request.ids.get("tenant", request.user.tenant) == made.by.tenant
    )
    return read and made.kind in {*SHARED, *HUB, "batch", "completion", "response", "capture", "conversation", "memory"}


def _reviewed(request: Request) -> str | None:
    """Returns the tenant whose answers the platform reviews: everything in them was consented to."""
    if request.user.tenant == PLATFORM and request.op.scope == "review":
        return request.ids.get("tenant", PLATFORM)
    return None


def _overseen(made: Made, request: Request) -> bool:
    """Whether an id is part of what the platform sees of all tenants: models, releases, answers under review, and what
    answered a request.
    """
    if request.user.tenant == PLATFORM and request.op.path in ("/v1/admin/models", "/v1/admin/aliases"):
        return made.kind in ("model", "release")
    if request.user.tenant == PLATFORM and request.op.path == "/v1/admin/requests/{request_id}":
        return made.kind in ("model", "own assistant", "version", "prompt")
    reviewed = _reviewed(request)
    if reviewed is not None and made.kind == "model":  # the answer's, which the stack has for several tenants
        return True
    return reviewed == made.by.tenant


class World:
    """The gateway, its users, what they made, and what was answered."""

    def __init__(self, up: Gateway) -> None:
        self.up = up
        self.http = httpx.Client(base_url=up.url, timeout=300)
        self.users = [self._user(tenant, name) for tenant in ("t0", "t1") for name in ("u0", "u1")]
        self.users += [self._user(tenant, "root", "admin") for tenant in ("t0", "t1")]
        self.users.append(User(PLATFORM, "admin", up.key, "admin"))
        self.made: dict[str, deque[Made]] = defaultdict(lambda: deque(maxlen=KEPT))
        self.made["model"].extend(Made("model", name, self.users[0]) for name in (*EVERYBODYS, "ranks", *AUDIENCE))
        self.made["artefact"].append(Made("artefact", GGUF, self.users[0]))
        self.echoed: dict[str, dict[str, str]] = {}
        """By the id of a response or a stream: the ids that its sender had named, which it repeats."""
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
        reviewed = _reviewed(request)
        consented = {each for user in self.users if user.tenant == reviewed for each in (user.own, user.shared)}
        sharing = self.sharing(request)
        consented |= {sharing.own} if sharing is not None else set()
        leaked: set[str | Made] = {word for word in self.forbidden(request.user) - consented if word in told}
        asked = repr([request.ids, *(self.echoed.get(id) for id in request.ids.values())])
        ids = [made for of_kind in self.made.values() for made in of_kind if not _audited(made, request)]
        ids = [made for made in ids if not _overseen(made, request)]
        ids = [made for made in ids if made.kind != "item" or made.by != sharing]
        leaked |= {m for m in ids if m.id in told and m.id not in asked and not m.shown_to(request.user)}
        assert not leaked, f"{request} was told {leaked}: {told}"
        lacks = "This stack has no Prometheus" in told  # as the stack of these tests
        assert answer.status_code < 500 or lacks, f"{request} was told {told}"
        return answer

    def sharing(self, request: Request) -> User | None:
        """Returns who shares the items of a conversation that are read, with the tenant."""
        if request.op.path != "/v1/shares/{share_id}/items":
            return None
        shares = (made.by for made in self.made["share"] if made.id == request.ids["share_id"])
        return next((by for by in shares if by.tenant == request.user.tenant), None)

    def lacking(self) -> set[str]:
        """The paths that were not answered with success yet, or whose ids were not compared with unknown ones."""
        paths = {op.path for op in OPERATIONS if op.authenticated}
        # Batches and evaluations end at once here, and then there is nothing to cancel; nor do releases wait.
        ended = {"/v1/batches/{batch_id}/cancel", "/v1/hub/evaluations/{evaluation_id}/cancel"}
        ended |= {f"/v1/hub/releases/{{release_id}}/{change}" for change in ("pause", "resume", "promote", "rollback")}
        answered = {path for path, status in self.statuses if status == 200 or (status == 409 and path in ended)}
        never = {"/v1/responses/{response_id}/cancel"}  # is for responses in the background that have not ended
        # These have names of the stack, and no Prometheus to ask here.
        stack = {"/v1/admin/alerts", "/v1/admin/alerts/{alert_id}", "/v1/admin/dashboards/{dashboard_id}"}
        compared = {path for path in paths if "{" in path} - set(self.compared)
        return (paths - answered - never) - stack | compared - stack

    def learn(self, request: Request, answer: httpx.Response) -> None:
        """Takes note of what a request made."""
        if stream := answer.headers.get("headrace-stream"):
            self.made["stream"].append(Made("stream", stream, request.user))
            self.echoed[stream] = request.ids
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
            if kind == "tuning job":
                self.made["job"].append(Made("job", id, by))
            if kind in ("completion", "response"):
                self.made["request"].append(Made("request", id, by))
            if kind == "completion" and request.json.get("store"):
                self.made["capture"].append(Made("capture", id, by))
            if kind == "response":
                self.echoed[id] = request.ids
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
                "files": {"weights": ADAPTER}
                if "base" in fields
                else {"file": (f"{fields['text']}.txt", fields["text"])},
            }
        if self.op.method in ("POST", "PUT"):
            return {"headers": self.headers, "json": fields, "params": of_tenant}
        return {"headers": self.headers, "params": fields | of_tenant}
