"""The person in a provider's token, as a user of a tenant."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from serving.config import Issuer
from serving.core.principal import ROLES, Principal, Role
from serving.security.keys import AuthenticationError
from serving.store import values
from serving.store.errors import InvalidValue
from serving.store.users import MAX_GROUPS


class TokenError(AuthenticationError):
    """A token is invalid, or its subject may not sign in. The message repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person or a program, by its provider's signed claims. `issuer` and `subject` never change."""

    issuer: str
    subject: str
    tenant: str
    user: str
    role: Role
    groups: frozenset[str]

    @property
    def id(self) -> str:
        """One id per issuer and subject, used in place of a key's id."""
        return "person_" + hashlib.sha256(f"{self.issuer}\0{self.subject}".encode()).hexdigest()[:32]


class People(Protocol):
    """The users of providers."""

    async def admit(self, person: Person, *, fresh: bool = False) -> Principal:
        """Returns the principal for `person`, who may be new.

        Called at each sign-in and for each request with a token. Claims of a sign-in are `fresh`, that is, current.
        Raises `AuthenticationError` for those who are no longer allowed to sign in.
        """


def person(issuer: Issuer, claims: Mapping[str, Any]) -> Person:
    """Returns the person in verified claims. Raises `TokenError`."""
    if issuer.user_claim == "email" and claims.get("email_verified") is not True:
        raise TokenError("the token's email is not verified")
    groups = _groups(issuer, claims)
    roles = [issuer.roles[group] for group in groups if group in issuer.roles]
    role = max(roles, key=ROLES.index) if roles else issuer.role
    if role is None:
        raise TokenError("none of the token's groups is allowed to sign in")
    tenant = issuer.tenant
    if issuer.tenant_claim is not None:
        tenant = issuer.tenants.get(_text(claims, issuer.tenant_claim))
    if tenant is None:
        raise TokenError("the token's tenant is not allowed to sign in")
    return Person(
        issuer=issuer.issuer,
        subject=_text(claims, "sub"),
        tenant=tenant,
        user=_text(claims, issuer.user_claim),
        role=role,
        groups=groups,
    )


def _groups(issuer: Issuer, claims: Mapping[str, Any]) -> frozenset[str]:
    given = claims.get(issuer.groups_claim, [])
    given = [given] if isinstance(given, str) else given
    # Some of the groups would not suffice: an access list may name any of them.
    if not isinstance(given, list) or len(given) > MAX_GROUPS:
        raise TokenError(f"the token's groups are not a list of at most {MAX_GROUPS}")
    return frozenset(_checked("groups", group) for group in given)


def _text(claims: Mapping[str, Any], name: str) -> str:
    return _checked("claims", claims.get(name))


def _checked(what: str, value: object) -> str:
    try:
        return values.text(what, value, min_length=1)
    except InvalidValue as e:
        raise TokenError(f"the token's {what} are missing or not text: one {e.message}") from None
