"""Tables of the model hub: suites, evaluations with the score of each prompt, and releases."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Double, ForeignKey, Index, Integer, String, Table, Text, text

from serving.store.relational.tables.base import ID, NAME, metadata

OPEN = text("status IN ('canary', 'paused')")
"""Releases that have not ended; literal, as the partial index needs it."""

hub_suites = Table(
    "hub_suites",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("prompts", Integer, nullable=False),
    Column("content", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("created_by", NAME),  # null: a person who was forgotten
    Index("ix_hub_suites_tenant_created_at", "tenant", "created_at", "id"),
    Index("uq_hub_suites_digest", "tenant", "name", "digest", unique=True),
)

hub_evaluations = Table(
    "hub_evaluations",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("suite", ID, ForeignKey("hub_suites.id"), nullable=False),
    Column("model", NAME, nullable=False),
    Column("against", NAME),
    Column("version", ID),  # of the hub, whose card this becomes
    Column("caller", JSON, nullable=False),  # on whose behalf models are asked: see absent_callers.py
    Column("status", String(16), nullable=False),
    Column("error", Text),
    Column("card", JSON(none_as_null=True)),  # null until it is completed
    Column("weights", JSON(none_as_null=True)),  # what answered for both names; null unless a live version is evaluated
    Column("job", ID, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("created_by", NAME),  # null: a person who was forgotten
    Column("ended_at", Double),
    Index("ix_hub_evaluations_tenant_created_at", "tenant", "created_at", "id"),
    Index("ix_hub_evaluations_suite", "suite"),
)

hub_scores = Table(
    "hub_scores",
    metadata,
    Column("evaluation", ID, ForeignKey("hub_evaluations.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),  # of the prompt in its suite
    Column("tenant", NAME, nullable=False),
    Column("score", JSON, nullable=False),
)

hub_releases = Table(
    "hub_releases",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("alias", NAME, nullable=False),
    Column("target", NAME, nullable=False),  # the model that is released
    Column("version", ID),  # of the hub, if the target is one: releases make it live
    Column("base", NAME, nullable=False),  # the model that answered before
    Column("share", Double, nullable=False),  # of the requests, for the target while it is a canary
    Column("evaluation", ID),
    Column("gate_override", Text),  # why a version was released without an evaluation that passed the gate
    Column("status", String(16), nullable=False),  # canary, paused, promoted or rolled_back
    Column("reason", String(64), nullable=False),  # why it ended
    Column("revision", Integer, nullable=False),  # raised by each change of the status
    Column("judged_until", Double, nullable=False),  # outcomes up to this time are counted
    Column("tallies", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("created_by", NAME),  # null: a person who was forgotten
    Column("ended_at", Double),
    Index("ix_hub_releases_tenant_created_at", "tenant", "created_at", "id"),
    Index("ix_hub_releases_alias", "alias", "status", "ended_at"),
    Index("uq_hub_releases_open", "alias", unique=True, sqlite_where=OPEN, postgresql_where=OPEN),
)
