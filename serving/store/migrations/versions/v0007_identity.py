"""Tenants and users, which keys named so far and nothing else, and when a key was used and what follows it.

Scopes were written and not looked at: a key could do whatever its tenant could. From now on they count, so what was
written is read as it was meant: `admin` as an admin of the tenant, none at all as a user, and `read` as reading.
"""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_USER = ["data", "data:read", "feedback", "inference"]
_ADMIN = sorted([*_USER, "admin", "operate"])


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(length=256), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("disabled_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
    )
    op.create_index("ix_tenants_created_at", "tenants", ["created_at", "id"])
    op.create_table(
        "users",
        sa.Column("tenant", sa.String(length=256), nullable=False),
        sa.Column("user", sa.String(length=256), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("issuer", sa.String(length=512), nullable=True),
        sa.Column("subject", sa.String(length=256), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("disabled_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_users_tenant_tenants")),
        sa.PrimaryKeyConstraint("tenant", "user", name=op.f("pk_users")),
    )
    op.create_index("ix_users_tenant_created_at", "users", ["tenant", "created_at", "user"])
    op.create_index("uq_users_subject", "users", ["issuer", "subject"], unique=True)
    op.add_column("keys", sa.Column("last_used_at", sa.Double(), nullable=True))
    op.add_column("keys", sa.Column("first_id", sa.String(length=64), nullable=True))
    op.add_column("keys", sa.Column("rotated_to", sa.String(length=64), nullable=True))
    _fill(op.get_bind())


def _fill(connection: sa.Connection) -> None:
    """Makes the tenants and users that keys name, and those that are always there."""
    metadata = sa.MetaData()
    keys, tenants, users = (sa.Table(t, metadata, autoload_with=connection) for t in ("keys", "tenants", "users"))
    roles: dict[tuple[str, str], str] = {("default", "admin"): "admin"}
    for row in connection.execute(sa.select(keys)).mappings().all():
        admin = row["bootstrap"] or "admin" in row["scopes"]
        if admin or (row["tenant"], row["user"]) not in roles:
            roles[row["tenant"], row["user"]] = "admin" if admin else "user"
        scopes = _ADMIN if admin else _read(row["scopes"])
        connection.execute(keys.update().where(keys.c.id == row["id"]).values(scopes=scopes))
    at = time.time()
    for tenant in sorted({tenant for tenant, _ in roles}):
        connection.execute(tenants.insert().values(id=tenant, name=tenant, created_at=at))
    for (tenant, user), role in sorted(roles.items()):
        connection.execute(users.insert().values(tenant=tenant, user=user, role=role, groups=[], created_at=at))


def _read(scopes: list[Any]) -> list[str]:
    if not scopes:
        return _USER
    return sorted({"data:read" if scope == "read" else scope for scope in scopes} & set(_USER))
