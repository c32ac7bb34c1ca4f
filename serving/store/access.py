"""Access lists: the names of those who may read a document, in one column.

A name is `user:…` or `group:…`, and the owner's is always included. Without a list, everybody in the tenant may read
it. The index of a vector store has the same lists, for each chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, exists, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from serving.core.principal import Principal
from serving.store import values
from serving.store.errors import InvalidValue, NotOwner

MAX_NAMES = 100
"""Maximum number of users, and of groups, of one list."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may read an object in addition to its owner."""

    users: Sequence[str] = ()
    groups: Sequence[str] = ()


def listed(access: Access | None, owner: str) -> list[str] | None:
    """Returns the sorted names of a list, including its owner's; raises `InvalidValue` beyond the limits."""
    if access is None:
        return None
    users, groups = _checked("access.users", access.users), _checked("access.groups", access.groups)
    return sorted({user_name(user) for user in (*users, owner)} | {f"group:{group}" for group in groups})


def access_document(names: Sequence[str] | None) -> dict[str, list[str]] | None:
    """Returns a list in the API's format."""
    if names is None:
        return None
    split = [name.partition(":") for name in names]
    return {kind + "s": [name for of, _, name in split if of == kind] for kind in ("user", "group")}


def user_name(user: str) -> str:
    """Returns the name of a user in lists."""
    return f"user:{user}"


def names_of(principal: Principal) -> list[str]:
    """Returns the names of a principal in lists."""
    return [user_name(principal.user), *(f"group:{group}" for group in sorted(principal.groups))]


def readable(table: Table, principal: Principal) -> ColumnElement[bool]:
    """Returns the condition for rows of the principal's tenant that it may read."""
    named = _holds(table, names_of(principal))
    return and_(table.c.tenant == principal.tenant, or_(table.c.access.is_(None), named))


def naming(table: Table, tenant: str, user: str) -> ColumnElement[bool]:
    """Returns the condition for rows of a tenant whose list names a user."""
    return and_(table.c.tenant == tenant, _holds(table, [user_name(user)]))


def reachable(table: Table, principal: Principal) -> ColumnElement[bool]:
    """Returns the condition for rows that the principal may read, or change as an admin of the tenant."""
    return table.c.tenant == principal.tenant if principal.administers else readable(table, principal)


def require_owner(principal: Principal, owner: str | None) -> None:
    """Raises `NotOwner` unless the principal may change an object of `owner`. Objects without an owner belong to
    everybody.
    """
    if owner not in (None, principal.user) and not principal.administers:
        raise NotOwner()


def require_owner_to_open(
    principal: Principal, owner: str | None, before: Sequence[str] | None, after: Sequence[str] | None
) -> None:
    """Raises `NotOwner` if a list lets in more than `before` did, unless the owner or the platform does that."""
    opens = before is not None and (after is None or not set(after) <= set(before))
    if opens and owner not in (None, principal.user) and "platform" not in principal.scopes:
        raise NotOwner("Only the owner may let more people in.")


def _holds(table: Table, names: Sequence[str]) -> ColumnElement[bool]:
    name = _Elements(table.c.access).table_valued("value")
    return exists(select(name.c.value).where(name.c.value.in_(names)))


def _checked(param: str, names: Iterable[str]) -> list[str]:
    checked = [values.text(param, name, min_length=1) for name in names]
    if len(checked) > MAX_NAMES:
        raise InvalidValue(param, f"must have at most {MAX_NAMES} members")
    return checked


class _Elements(FunctionElement[Any]):
    """The texts in a JSON array, one row each; none for NULL."""

    inherit_cache = True
    name = "elements"


@compiles(_Elements, "sqlite")
def _sqlite(element: _Elements, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **kw)})"


@compiles(_Elements, "postgresql")
def _postgresql(element: _Elements, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_array_elements_text({compiler.process(element.clauses, **kw)})"
