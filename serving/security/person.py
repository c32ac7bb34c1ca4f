"""The person that a provider's token names, as a user of a tenant."""

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
    """A token that is not valid, or speaks of nobody who may come in. The message repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person or a program, as their provider's signed claims have them. `issuer` and `subject` stay for ever."""

    issuer: str
    subject: str
    tenant: str
    user: str
    role: Role
    groups: frozenset[str]

    @property
    def id(self) -> str:
        """One id per issuer and subject, which stands where a key's id does."""
        return "person_" + hashlib.sha256(f"{self.issuer}\0{self.subject}".encode()).hexdigest()[:32]


class People(Protocol):
    """Those who have been here."""

    async def admit(self, person: Person, *, fresh: bool = False) -> Principal:
        """Returns who `person` is here, who may be new. Asked at each sign-in and for each request with a token.

        What a sign-in says is `fresh`: the provider says so now.
        Raises `AuthenticationError` for those who may not come in any more.
        """


def person(issuer: Issuer, claims: Mapping[str, Any]) -> Person:
    """Returns whom verified claims speak of. Raises `TokenError`."""
    if issuer.user_claim == "email" and claims.get("email_verified") is not True:
        raise TokenError("the token's email is not verified")
    groups = _groups(issuer, claims)
    roles = [issuer.roles[group] for group in groups if group in issuer.roles]
    role = max(roles, key=ROLES.index) if roles else issuer.role
    if role is None:
        raise TokenError("none of the token's groups may come in")
    tenant = issuer.tenant
    if issuer.tenant_claim is not None:
        tenant = issuer.tenants.get(_text(claims, issuer.tenant_claim))
    if tenant is None:
        raise TokenError("the token is of no tenant that may come in")
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
    # Some of the groups would not do: a list of access may name any.
    if not isinstance(given, list) or len(given) > MAX_GROUPS:
        raise TokenError(f"the token's groups are no list of at most {MAX_GROUPS}")
    return frozenset(_checked("groups", group) for group in given)


def _text(claims: Mapping[str, Any], name: str) -> str:
    return _checked("claims", claims.get(name))


def _checked(what: str, value: object) -> str:
    try:
        return values.text(what, value, min_length=1)
    except InvalidValue as e:
        raise TokenError(f"the token has {what} that are missing or no text: one {e.message}") from None
