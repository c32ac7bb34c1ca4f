"""Alembic's entry point: runs the migrations on the caller's connection, in its transaction."""

from __future__ import annotations

from alembic import context

from serving.store.relational.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
