"""Migrations of the relational database, by Alembic."""
