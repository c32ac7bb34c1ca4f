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
"""Maximum lifetime of a key that expires."""

DisplayName = Annotated[str, StringConstraints(max_length=256)]
Groups = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=users.MAX_GROUP)]],
    Field(max_length=users.MAX_GROUPS),
]


class TenantRequest(Body):
    """`POST /v1/admin/tenants`."""

    id: str = Field(pattern=tenants.ID, description="the tenant's id, which cannot be changed")
    name: DisplayName = Field(default="", description="display name; by default the id")


class TenantUpdate(Body):
    """`POST /v1/admin/tenants/{tenant_id}`: omitted fields stay unchanged."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    disabled: bool | None = Field(default=None, description="keys of a disabled tenant are rejected")


class UserRequest(Body):
    """`POST /v1/admin/users`."""

    id: str = Field(pattern=users.ID)
    role: Role = "user"
    groups: Groups = Field(default=[], description="for the access lists of documents")


class UserUpdate(Body):
    """`POST /v1/admin/users/{user_id}`: omitted fields stay unchanged."""

    role: Role | None = None
    groups: Groups | None = None
    disabled: bool | None = Field(default=None, description="keys of a disabled user are rejected")


class KeyRequest(Body):
    """`POST /v1/admin/keys`."""

    user: str = Field(min_length=1, max_length=256, description="the key's user")
    name: DisplayName = ""
    scopes: Annotated[list[Scope], Field(max_length=16)] | None = Field(
        default=None,
        description="the key's scopes; by default all that its user's role includes",
    )
    expires_in_s: int | None = Field(
        default=None, ge=1, le=MAX_LIFE_S, description="seconds; by default the key does not expire"
    )


class WebhookRequest(Body):
    """`POST /v1/admin/webhooks`."""

    url: str = Field(min_length=1, max_length=2048)
    events: Annotated[list[EventType], Field(min_length=1, max_length=len(EVENTS))]
    private: bool = Field(
        default=False, description="whether its address may be in a private network; only the platform may set this"
    )


class RotationRequest(Body):
    """`POST /v1/admin/keys/{key_id}/rotate`, and that of webhooks."""

    overlap_s: int = Field(
        default=3600, ge=0, le=MAX_OVERLAP_S, description="seconds for which the old key remains valid"
    )
