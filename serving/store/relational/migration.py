"""The format of a database: its schema's number, and the migrations to this version's."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, select
from sqlalchemy.engine import URL, Connection
from sqlalchemy.pool import NullPool

from serving.store.errors import NewerDatabase, OlderDatabase, StoreUnavailable, UnreleasedDatabase
from serving.store.relational import postgres, sqlite
from serving.store.relational.postgres import PostgresAccess
from serving.store.relational.tables import meta

_MIGRATING = threading.Lock()  # alembic keeps its context in module globals


def _config(connection: Connection | None = None) -> Config:
    """Returns the Alembic configuration of the migrations that ship in this package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


_SCRIPTS = ScriptDirectory.from_config(_config())

HEAD = int(str(_SCRIPTS.get_current_head()))
"""The format of this version: the number of its newest migration."""

FIRST = int(str(_SCRIPTS.get_base()))
"""The format of the first release, which an empty database gets before later migrations."""


def migrate(url: URL, access: PostgresAccess, *, wait_s: float) -> None:
    """Migrates a database to format `HEAD` in one transaction; concurrent migrations wait, with SQLite up to `wait_s`.

    Raises as `require_known`.
    """
    with _MIGRATING:
        is_sqlite = url.get_backend_name() == "sqlite"
        if is_sqlite:
            sqlite.prepare(url)
            engine = create_engine(url.set(drivername="sqlite+pysqlite"), poolclass=NullPool, hide_parameters=True)
            # Alembic rebuilds a table to alter it; foreign keys would cascade. They are checked below.
            sqlite.configure(engine, busy_timeout_s=wait_s, foreign_keys=False)
            sqlite.use_wal(engine, wait_s=wait_s)
        else:
            arguments = access.arguments(statement_timeout_s=0)
            engine = create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)
            postgres.configure(engine, access)
        with engine.execution_options(**{sqlite.WRITE: True}).begin() as connection:
            if not is_sqlite:
                postgres.lock_for_migration(connection)
            _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    found = format_of(connection)
    require_known(found)
    if found == HEAD:
        return
    command.upgrade(_config(connection), "head")
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken:
            raise StoreUnavailable(f"migration to format {HEAD} would break a reference: {broken!r}")
    connection.execute(meta.delete().where(meta.c.key == "format"))
    connection.execute(meta.insert().values(key="format", value=str(HEAD)))


def format_of(connection: Connection) -> int:
    """Returns the number of the newest migration in the database; 0 for an empty one."""
    if not inspect(connection).has_table(meta.name):
        return 0
    return int(connection.execute(select(meta.c.value).where(meta.c.key == "format")).scalar() or 0)


def require_known(found: int) -> None:
    """Raises `NewerDatabase` or `UnreleasedDatabase` for a format without a migration to this version."""
    if found > HEAD:
        raise NewerDatabase(
            f"the database has format {found} and this Headrace knows up to {HEAD}: it was written by a "
            "newer Headrace; install that one again, or restore a backup from before the upgrade"
        )
    if 0 < found < FIRST:
        raise UnreleasedDatabase(
            f"the database has format {found} and this Headrace knows {FIRST} and later: it was written by an "
            "unreleased Headrace, and nothing upgrades it; start with an empty database and an empty data folder"
        )


def require_current(found: int) -> None:
    """Raises as `require_known`, and `OlderDatabase` for a format that must be migrated."""
    require_known(found)
    if found < HEAD:
        raise OlderDatabase(
            f"the database has format {found} and this Headrace needs {HEAD}: run `python -m serving.store migrate`"
        )
