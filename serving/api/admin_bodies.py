"""Request bodies of the admin API."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from serving.core.principal import Role, Scope
from serving.protocol.parts import Body
from serving.store import tenants, users
from serving.store.background.webhooks import EVENTS, EventType
from serving.store.keys import MAX_OVERLAP_S

MAX_LIFE_S = 10 * 366 * 86400
"""How long a key that expires lives at most."""

DisplayName = Annotated[str, StringConstraints(max_length=256)]
Groups = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=users.MAX_GROUP)]],
    Field(max_length=users.MAX_GROUPS),
]


class TenantRequest(Body):
    """`POST /v1/admin/tenants`."""

    id: str = Field(pattern=tenants.ID, description="what the tenant is called everywhere, for good")
    name: DisplayName = Field(default="", description="for people; the id where it is left out")


class TenantUpdate(Body):
    """`POST /v1/admin/tenants/{tenant_id}`: what is left out stays."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    disabled: bool | None = Field(default=None, description="a disabled tenant's keys are good for nothing")


class UserRequest(Body):
    """`POST /v1/admin/users`."""

    id: str = Field(pattern=users.ID)
    role: Role = "user"
    groups: Groups = Field(default=[], description="for the access lists of documents")


class UserUpdate(Body):
    """`POST /v1/admin/users/{user_id}`: what is left out stays."""

    role: Role | None = None
    groups: Groups | None = None
    disabled: bool | None = Field(default=None, description="a disabled user's keys are good for nothing")


class KeyRequest(Body):
    """`POST /v1/admin/keys`."""

    user: str = Field(min_length=1, max_length=256, description="whose key it is")
    name: DisplayName = ""
    scopes: Annotated[list[Scope], Field(max_length=16)] | None = Field(
        default=None,
        description="what the key is good for; where they are left out all that its user's role has by itself",
    )
    expires_in_s: int | None = Field(default=None, ge=1, le=MAX_LIFE_S, description="seconds; left out, it does not")


class WebhookRequest(Body):
    """`POST /v1/admin/webhooks`."""

    url: str = Field(min_length=1, max_length=2048)
    events: Annotated[list[EventType], Field(min_length=1, max_length=len(EVENTS))]
    private: bool = Field(default=False, description="its address may be in a private network; the platform's alone")


class RotationRequest(Body):
    """`POST /v1/admin/keys/{key_id}/rotate`, and that of webhooks."""

    overlap_s: int = Field(
        default=3600, ge=0, le=MAX_OVERLAP_S, description="for how many seconds the old key works on"
    )
