"""Conditions for rows that a principal owns, for every table with an owner.

The condition is part of the statement that reads or changes the row, so that other users' rows are treated like missing
ones.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, and_, bindparam, or_

from serving.core.principal import Principal

Values = dict[str, str]


def own(table: Table, principal: Principal) -> ColumnElement[bool]:
    """Returns the condition for the principal's rows, and those of its tenant without an owner."""
    return _own_rows(table, principal.tenant, principal.user)


def own_bound(table: Table) -> ColumnElement[bool]:
    """Like `own`, for a statement that is compiled once and run with `binds`."""
    return _own_rows(table, bindparam("own_tenant"), bindparam("own_user"))


def binds(principal: Principal) -> Values:
    """Returns the parameters of `own_bound`."""
    return {"own_tenant": principal.tenant, "own_user": principal.user}


def _own_rows(table: Table, tenant: object, user: object) -> ColumnElement[bool]:
    mine = table.c.user == user
    return and_(table.c.tenant == tenant, or_(table.c.user.is_(None), mine) if table.c.user.nullable else mine)
