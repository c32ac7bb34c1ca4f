"""Everything specific to PostgreSQL: connections, locks and errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from psycopg import Error, InterfaceError, OperationalError
from sqlalchemy import Engine, event, text
from sqlalchemy.engine import URL, Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.config import SecretRef
from serving.store.errors import StoreUnavailable

_BROKEN = {
    "08": "the connection was refused or lost",
    "25006": "it is read-only: is this a replica, or is a failover under way?",
    "28": "its user was refused: check store.database and store.password",
    "3D": "there is no such database: create it first",
    "3F": "its schema is not there: run `python -m serving.store migrate`",
    "40": "it was changed at the same time by others: try again",
    "42501": "its user may not do this: make it the owner of the schema",
    "42P01": "it was never migrated: run `python -m serving.store migrate`",
    "42703": "its schema is older than this Headrace: run `python -m serving.store migrate`",
    "53100": "its disk is full: free some space",
    "53200": "it is out of memory",
    "53300": "it has too many connections: raise max_connections or lower store.connections",
    "54": "a limit of the server was reached",
    "55P03": "another transaction holds the lock",
    "57014": "the statement took longer than store.statement_timeout_s",
    "57": "it is shutting down or starting",
    "58": "its disk reports errors: look at the server's log",
    "F0": "its configuration is broken: look at the server's log",
    "TLS": "its certificate or encryption was refused: check store.tls and store.tls_ca",
    "XX": "it had an internal error: look at the server's log",
    "XX001": "it is damaged: restore it from a backup",
    "XX002": "an index is damaged: REINDEX, or restore it from a backup",
}
"""SQLSTATEs, or their first two characters, that mean a failure of the database itself."""

_REFUSALS = (
    (re.compile(r"authentication failed|no password supplied|no pg_hba\.conf entry|role .* does not exist"), "28"),
    (re.compile(r"database .* does not exist"), "3D"),
    (re.compile(r"permission denied"), "42501"),
    (re.compile(r"too many (clients|connections)|connection slots are reserved"), "53300"),
    (re.compile(r"the database system is "), "57"),
    (re.compile(r"certificate|SSL"), "TLS"),
)
"""Errors of a server that rejects connections: libpq passes on its message, but no SQLSTATE."""


@dataclass(frozen=True, slots=True)
class PostgresAccess:
    """Connection settings in addition to the URL; times in seconds."""

    password: SecretRef | None = None
    tls: str | None = None
    tls_ca: str | None = None
    statement_timeout_s: float = 30
    connect_timeout_s: float = 10

    def arguments(self, *, statement_timeout_s: float | None = None) -> dict[str, Any]:
        """Returns the driver's arguments; a statement timeout of 0 means none."""
        limit = self.statement_timeout_s if statement_timeout_s is None else statement_timeout_s
        session = {
            "statement_timeout": ceil(limit * 1000),
            # A process that hangs in a transaction must not hold locks for ever.
            "idle_in_transaction_session_timeout": 60_000 if limit else 0,
            "TimeZone": "UTC",
        }
        arguments: dict[str, Any] = {
            "application_name": "headrace",
            "connect_timeout": max(2, ceil(self.connect_timeout_s)),
            "options": " ".join(f"-c {name}={value}" for name, value in session.items()),
            # A server that vanishes silently is detected after about 30 s.
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        }
        if self.tls is not None:
            arguments["sslmode"] = self.tls
        if self.tls_ca is not None:
            arguments["sslrootcert"] = self.tls_ca
        return arguments


def configure(engine: Engine, access: PostgresAccess) -> None:
    """Reads the password for each new connection, so that a changed one needs no restart."""
    if access.password is None:
        return
    reference = access.password

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]) -> None:
        try:
            parameters["password"] = reference.read()
        except LookupError as e:
            raise StoreUnavailable(f"the database cannot be used: {e}") from None


async def lock(connection: AsyncConnection, *name: str, shared: bool = False) -> None:
    """Like `lock_out`, for an asynchronous connection."""
    await connection.run_sync(lock_out, *name, shared=shared)


def lock_out(connection: Connection, *name: str, shared: bool = False) -> None:
    """Locks `name` against other writers until the transaction ends; `shared`, only against those that are not.

    With SQLite it does nothing, since a writer is alone anyway.
    """
    if connection.dialect.name == "postgresql":
        function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
        key = {"name": "/".join(name)}
        connection.execute(text(f"SELECT {function}(hashtextextended(:name, 0))"), key)


def lock_for_migration(connection: Connection) -> None:
    """Blocks other migrations of this database until the transaction ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": 0x48454144})  # "HEAD"


def rewrite(engine: Engine, tables: Sequence[str]) -> None:
    """Rewrites tables one after the other, without their dead rows; each is locked meanwhile.

    The server's log (WAL) and its backups keep deleted rows until they are removed themselves.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in tables:
            connection.execute(text(f'VACUUM (FULL) "{table}"'))


def explain(error: BaseException, url: URL, *, lost: bool = False) -> str | None:
    """Returns the problem and its remedy, or None when the database itself is healthy.

    `lost` tells that the connection is gone, which the driver's error alone does not show.
    """
    if not isinstance(error, Error):
        return None
    state = error.sqlstate or next((state for words, state in _REFUSALS if words.search(str(error))), "")
    if "during recovery" in str(error):  # a replica that was asked for a writing transaction
        state = "25006"
    remedy = _BROKEN.get(state) or _BROKEN.get(state[:2])
    # Without an SQLSTATE the server did not answer: a timeout raises a subclass of `OperationalError`.
    if remedy is None and (lost or (not state and isinstance(error, OperationalError | InterfaceError))):
        remedy = "check that the server runs and can be reached from here"
    if remedy is None:
        return None
    place = f"{url.host or 'the local socket'}{f':{url.port}' if url.port else ''}"
    # psycopg repeats the message for each address that it tried.
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), error.__class__.__name__)
    return f"database {url.database} at {place} cannot be used: {reason}; {remedy}"
