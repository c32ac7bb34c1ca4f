"""The base of the configuration: names, secrets and access."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from serving.core.principal import Role

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
"""Name of a model, alias, assistant or collection: lower case, digits and `._-`; 1-63 characters."""


REVISION_WAIT_S = 150  # kubelets check every minute, and their own cache may be a minute old


class Strict(BaseModel):
    """Base class of configuration objects: unknown keys are errors, and objects are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SecretRef(Strict):
    """A reference to a secret: `file:/path` or `env:NAME`. The secret itself is read where it is used.

    On Kubernetes a Secret is mounted as a file, so `file:` covers it.
    """

    ref: str = Field(pattern=r"^(file:/.+|env:[A-Za-z_][A-Za-z0-9_]*)$")

    def read(self) -> str:
        """Returns the secret without surrounding white space.

        If `HEADRACE_SECRETS_REVISION` is set, a file `revision` beside the secret's file must contain the same value:
        kubelets update a changed Secret in running pods within about a minute, and a replica that starts earlier would
        use the old one. So it waits. Raises `LookupError` (with the reference, never the value) when the secret is
        missing or empty, or stays outdated.
        """
        kind, _, target = self.ref.partition(":")
        try:
            if kind == "file":
                _await_revision(Path(target).with_name("revision"))
            value = os.environ[target] if kind == "env" else Path(target).read_text(encoding="utf-8")
        except (KeyError, OSError) as e:
            raise LookupError(f"secret {self.ref} cannot be read: {type(e).__name__}") from None
        if not value.strip():
            raise LookupError(f"secret {self.ref} is empty")
        return value.strip()


_current: set[Path] = set()


def _await_revision(file: Path) -> None:
    wanted = os.environ.get("HEADRACE_SECRETS_REVISION")
    if not wanted or file in _current or not file.exists():
        return
    deadline = time.monotonic() + REVISION_WAIT_S
    while (found := file.read_text(encoding="utf-8").strip()) != wanted:
        if time.monotonic() > deadline:
            raise LookupError(f"secrets in {file.parent} are of revision {found}, not yet of {wanted}")
        time.sleep(1)
    _current.add(file)


def once(names: tuple[str, ...]) -> tuple[str, ...]:
    """Raises `ValueError` for a repeated name."""
    if twice := next((name for n, name in enumerate(names) if name in names[:n]), None):
        raise ValueError(f"names '{twice}' twice")
    return names


AccessName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


Tenant = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
"""Id of a tenant in the API's format."""


AccessTenants = Annotated[tuple[Tenant, ...], Field(min_length=1, max_length=256), AfterValidator(once)]


AccessNames = Annotated[tuple[AccessName, ...], Field(min_length=1, max_length=256), AfterValidator(once)]


AccessRoles = Annotated[tuple[Role, ...], Field(min_length=1, max_length=3), AfterValidator(once)]


NEEDS_TENANTS = "needs tenants: another tenant's admin can give the same names, groups and roles"


class CallAccess(Strict):
    """Who may call an object: for everybody else it does not exist.

    `tenants` restricts it to their users; `users`, `groups` or `roles` to those whom at least one of the three names.
    They require `tenants`, since names, groups and roles are given by each tenant's own admins.
    """

    tenants: AccessTenants | None = Field(default=None, description="tenants whose users may call it")
    users: AccessNames | None = Field(
        default=None, description="with `groups` and `roles`: restricts it to these users"
    )
    groups: AccessNames | None = Field(
        default=None, description="with `users` and `roles`: restricts it to these groups"
    )
    roles: AccessRoles | None = Field(
        default=None, description="with `users` and `groups`: restricts it to these roles"
    )

    @model_validator(mode="after")
    def _says_who(self) -> Self:
        if self.tenants is None and self.users is None and self.groups is None and self.roles is None:
            raise ValueError("names nobody; leave access out for everybody")
        if self.tenants is None:
            raise ValueError(NEEDS_TENANTS)
        return self

    def allows(self, tenant: str, user: str, groups: Collection[str], role: Role) -> bool:
        """Returns whether a user of a tenant, with a role and `groups`, may call the object."""
        if self.tenants is None or tenant not in self.tenants:
            return False
        if self.users is None and self.groups is None and self.roles is None:
            return True
        named = user in (self.users or ()) or role in (self.roles or ())
        return named or not set(self.groups or ()).isdisjoint(groups)


class Restrictable(Strict):
    """An object that can be called by name, by everybody unless `access` restricts it."""

    access: CallAccess | None = Field(
        default=None, description="who may call it: for others it does not exist; by default everybody"
    )


class TenantSecrets(Strict):
    """Secrets of tenants: each is used for the users of its tenant."""

    tenants: dict[Tenant, SecretRef] = Field(min_length=1, max_length=1024, description="each tenant's")
    default: SecretRef | None = Field(
        default=None, description="secret of all other tenants; without it they do not have the tool"
    )

    def for_tenant(self, tenant: str) -> SecretRef | None:
        """Returns the secret for a tenant, None if there is none."""
        return self.tenants.get(tenant, self.default)


def _secret_kind(value: object) -> str:
    per_tenant = isinstance(value, TenantSecrets) or (isinstance(value, dict) and {"tenants", "default"} & set(value))
    return "by tenant" if per_tenant else "one"


HeaderSecret = Annotated[
    Annotated[SecretRef, Tag("one")] | Annotated[TenantSecrets, Tag("by tenant")], Discriminator(_secret_kind)
]
"""One secret for everybody, or one for each tenant."""
