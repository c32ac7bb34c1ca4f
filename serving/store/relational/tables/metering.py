"""Tables of quotas, their windows, and usage."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, String, Table

from serving.store.relational.tables.base import ID, NAME, metadata

quotas = Table(
    "quotas",
    metadata,
    Column("id", String(64), primary_key=True),  # SHA-256 of all following columns except the limit
    Column("tenant", NAME, nullable=False),
    Column("subject", String(16), nullable=False),
    Column("subject_id", NAME, nullable=False),
    Column("window", String(16), nullable=False),
    Column("measure", String(16), nullable=False),
    Column("currency", String(3), nullable=False),  # empty except for money
    Column("limit", BigInteger, nullable=False),  # in units: of money in billionths
    # `platform` or `tenant`. Older rows may be either's: they count as the platform's, so that no tenant can raise
    # them.
    Column("set_by", String(16), nullable=False, server_default="platform"),
    Column("created_at", Double, nullable=False),
    Index("ix_quotas_tenant_created_at", "tenant", "created_at", "id"),
)

quota_windows = Table(
    "quota_windows",
    metadata,
    Column("quota_id", String(64), primary_key=True),  # also of a default, which has no row in quotas
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant", NAME, nullable=False),
    Column("taken", BigInteger, nullable=False),  # granted to gateways and not returned
    Column("used", BigInteger, nullable=False),  # the part of it that is known to be used
    Column("ends_at", Double, nullable=False),
    Index("ix_quota_windows_ends_at", "ends_at"),
)

quota_streams = Table(
    "quota_streams",
    metadata,
    Column("quota_id", String(64), primary_key=True),
    Column("gateway", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("held", BigInteger, nullable=False),  # concurrent streams granted to the gateway
    Column("lease_until", Double, nullable=False),
    Index("ix_quota_streams_lease_until", "lease_until"),
)

usage = Table(
    "usage",
    metadata,
    Column("tenant", NAME, primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("user", NAME, primary_key=True),
    Column("key_id", ID, primary_key=True),
    Column("model", NAME, primary_key=True),
    Column("currency", String(3), primary_key=True),  # empty if the cost is unknown
    Column("shard", Integer, primary_key=True, autoincrement=False),  # so that writers rarely wait for each other
    Column("requests", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),  # in billionths of the currency
)
