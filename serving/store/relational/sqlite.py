"""Everything specific to SQLite: its URL, pragmas, locks and errors."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Engine, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import URL, Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import PoolProxiedConnection

from serving.store.errors import StoreUnavailable

WRITE = "headrace_write"
"""Execution option of a connection whose transactions write."""

CHECKPOINT = 4000
"""Size of the WAL in pages (of 4 KiB) at which it is checkpointed, by whoever commits then. SQLite's default of 1000 is
reached after 70 turns, which mostly change the same pages: with four times as many, a commit has 30 % less work, and
the WAL has 16 MB.
"""

_BROKEN = {
    "SQLITE_FULL": "the disk is full: free some space",
    "SQLITE_IOERR": "the disk reports errors or is full: look at the system log",
    "SQLITE_READONLY": "it is read-only: check the file's owner and the mount",
    "SQLITE_CANTOPEN": "it cannot be opened: check that its folder exists and may be written",
    "SQLITE_CORRUPT": "it is damaged: restore it from a backup",
    "SQLITE_NOTADB": "it is damaged or not an SQLite file: restore it from a backup",
    "SQLITE_BUSY": "another process holds its write lock",
    "SQLITE_LOCKED": "another connection holds its lock",
    "SQLITE_PROTOCOL": "its lock cannot be taken: WAL needs a local disk",
    "SQLITE_PERM": "access was refused: check the file's owner",
    "SQLITE_NOMEM": "there is not enough memory",
    "SQLITE_NOLFS": "the file is larger than the file system allows",
}


def prepare(url: URL) -> None:
    """Creates the folder and an empty file that only its owner can read; keeps an existing file, without opening it.

    A process that closes any descriptor of a database loses all its locks on it, including those of SQLite's open
    connections (https://sqlite.org/howtocorrupt.html, section 2.2): another process that closes its last connection
    would then remove the WAL in use.
    """
    path = Path(str(url.database))
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        # A link to a missing file: with O_EXCL alone, SQLite would create the file, readable by everybody.
        os.close(os.open(path.resolve(), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def configure(engine: Engine, *, busy_timeout_s: float, foreign_keys: bool = True) -> None:
    """Configures every connection.

    Writers use `BEGIN IMMEDIATE`: a reader that becomes a writer fails immediately when another process wrote in
    between, whatever the busy timeout.
    """

    @event.listens_for(engine, "connect")
    def connect(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun explicitly, not by the driver
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(busy_timeout_s * 1000)}")
        cursor.execute("PRAGMA synchronous = FULL")  # acknowledged writes survive a power failure
        cursor.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
        cursor.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        cursor.close()

    if isinstance(engine.dialect, Reading):
        return

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get(WRITE)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


class Reading(SQLiteDialect_pysqlite):
    """Engines with reading transactions.

    They begin transactions themselves: with a listener, SQLAlchemy checks for it at every statement, which costs a
    short transaction a third of its time.
    """

    supports_statement_cache = True
    begin = "BEGIN"

    def do_begin(self, dbapi_connection: PoolProxiedConnection) -> None:
        dbapi_connection.cursor().execute(self.begin)


class Writing(Reading):
    """Engines with writing transactions."""

    supports_statement_cache = True
    begin = "BEGIN IMMEDIATE"


READING, WRITING = "sqlite+headrace_reading", "sqlite+headrace_writing"
for _name, _dialect in ((READING, Reading), (WRITING, Writing)):
    registry.register(_name.replace("+", "."), __name__, _dialect.__name__)


def use_wal(engine: Engine, *, wait_s: float) -> None:
    """Switches the file to WAL permanently. SQLite does not wait for this lock, so this function does."""
    deadline = time.monotonic() + wait_s
    connection = engine.raw_connection()
    try:
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as e:
                if primary_code(e) != "SQLITE_BUSY" or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
    finally:
        connection.close()


def rewrite(url: URL, *, wait_s: float) -> None:
    """Removes deleted data from the file and its WAL; `wait_s` is the timeout for concurrent readers and writers."""
    connection = sqlite3.connect(str(url.database), timeout=wait_s, isolation_level=None)
    try:
        connection.execute("VACUUM")
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreUnavailable(
                f"database {url.database} cannot be rewritten while somebody still reads an old state of it"
            )
    finally:
        connection.close()


def primary_code(error: BaseException) -> str:
    """Returns SQLite's primary result code, for example `SQLITE_IOERR` for `SQLITE_IOERR_WRITE`."""
    name: str = getattr(error, "sqlite_errorname", "") or ""
    return "_".join(name.split("_")[:2])


def explain(error: BaseException, url: URL) -> str | None:
    """Returns the problem and its remedy, or None when the database itself is healthy."""
    remedy = _BROKEN.get(primary_code(error))
    return f"database {url.database} cannot be used: {error}; {remedy}" if remedy else None
