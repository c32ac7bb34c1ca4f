"""Tables of the model hub: versions of models and adapters, their parents, and the data sets of their training."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Double, ForeignKey, Index, Integer, String, Table, Text

from serving.store.relational.tables.base import ID, NAME, Name, metadata

hub_datasets = Table(
    "hub_datasets",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("format", String(32), nullable=False),
    Column("status", String(16), nullable=False),  # building, ready or retired
    Column("reason", Text, nullable=False),  # why it was retired
    Column("digest", String(64), nullable=False),  # of its rows; empty while it is building
    Column("manifest", JSON, nullable=False),
    Column("counts", JSON, nullable=False),
    Column("files", JSON, nullable=False),  # [{name, bytes, sha256}]
    Column("bytes", BigInteger, nullable=False),  # stored now
    Column("job", ID),
    Column("created_at", Double, nullable=False),
    Column("created_by", NAME),  # null: a person who was forgotten
    Column("ready_at", Double),
    Column("retired_at", Double),
    Column("deleted_at", Double),  # of its files
    Index("ix_hub_datasets_tenant_created_at", "tenant", "created_at", "id"),
)

hub_dataset_people = Table(
    "hub_dataset_people",
    metadata,
    Column("dataset", ID, ForeignKey("hub_datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("user", Name(), primary_key=True),
    Index("ix_hub_dataset_people_tenant_user", "tenant", "user"),
)
"""The users from whose data a data set was made."""

hub_versions = Table(
    "hub_versions",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("number", Integer, nullable=False),
    Column("kind", String(16), nullable=False),  # model, adapter or reward
    Column("status", String(16), nullable=False),  # building, ready, rejected or retired
    Column("reason", Text, nullable=False),  # why it was rejected or retired
    Column("base", NAME, nullable=False),  # name of a configured model
    Column("base_digest", String(64), nullable=False),  # SHA-256 of the base's weights
    Column("method", String(16), nullable=False),
    Column("rank", Integer),
    Column("artefacts", JSON, nullable=False),  # [{name, bytes, sha256}]
    Column("bytes", BigInteger, nullable=False),  # stored now
    Column("recipe", JSON, nullable=False),
    Column("dataset", ID, ForeignKey("hub_datasets.id")),
    Column("provenance", JSON, nullable=False),
    Column("card", JSON(none_as_null=True)),  # null until an evaluation writes it
    Column("job", ID),
    Column("created_at", Double, nullable=False),
    Column("created_by", NAME),  # null: a person who was forgotten
    Column("ready_at", Double),
    Column("retired_at", Double),
    Column("deleted_at", Double),  # of its artefacts
    Index("ix_hub_versions_tenant_created_at", "tenant", "created_at", "id"),
    Index("ix_hub_versions_dataset", "dataset"),
    Index("uq_hub_versions_number", "tenant", "name", "number", unique=True),
)

hub_consents = Table(
    "hub_consents",
    metadata,
    Column("version", ID, ForeignKey("hub_versions.id", ondelete="CASCADE"), primary_key=True),
    Column("grantee", NAME, primary_key=True),  # the tenant that may use it
    Column("tenant", NAME, nullable=False),  # the version's
    Column("scope", String(16), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("created_by", NAME),  # null: a person who was forgotten
    Column("revoked_at", Double),
)
"""Which other tenants may use a version."""

hub_parents = Table(
    "hub_parents",
    metadata,
    Column("version", ID, ForeignKey("hub_versions.id", ondelete="CASCADE"), primary_key=True),
    Column("parent", ID, ForeignKey("hub_versions.id"), primary_key=True),
    Column("tenant", NAME, nullable=False),
    Index("ix_hub_parents_parent", "parent"),
)
"""The versions from which a version was made."""
