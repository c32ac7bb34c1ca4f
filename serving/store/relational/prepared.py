"""Statements of every turn, compiled once for SQLite's driver: SQLAlchemy's work is most of a statement's cost.

Queries for a few keys also run in the event loop, in 50 µs. In a thread they took 470 µs of CPU time with 32 running
concurrently: the driver releases the GIL at every row, and other threads take it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Insert, Select, Update
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import IntegrityError

from serving.store.relational import encoding

STEPS = 50_000
"""Limit of SQLite's virtual machine, about a millisecond: longer queries must not block the event loop."""

LENGTH = 200_000
"""Maximum size of a row in bytes: the steps do not include the time to read one."""

VIOLATES = (IntegrityError, sqlite3.IntegrityError)
"""Errors of a statement that violates a constraint."""

Given = Mapping[str, Any]
Rows = Sequence[Sequence[Any]]

_DIALECT = SQLiteDialect_pysqlite(json_serializer=encoding.dumps, json_deserializer=encoding.loads, paramstyle="named")


class Prepared:
    """A statement with the same parameters and results through either driver."""

    def __init__(self, statement: Select[Any] | Insert | Update) -> None:
        self.statement = statement
        compiled = statement.compile(dialect=_DIALECT)
        self._sql = str(compiled)
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}
        bound = {name: bind.type.dialect_impl(_DIALECT) for bind, name in compiled.bind_names.items()}
        self._bound = [(name, of) for name, type in bound.items() if (of := type.bind_processor(_DIALECT))]
        read = [column.type.dialect_impl(_DIALECT) for column in statement.exported_columns]
        self._read = [(n, of) for n, type in enumerate(read) if (of := type.result_processor(_DIALECT, None))]

    def rows(self, connection: Connection, given: Given) -> Rows:
        """Runs it within the transaction of `connection` and returns its rows; raises one of `VIOLATES`."""
        if (driver := _sqlite(connection)) is None:
            return connection.execute(self.statement, given).all()
        return self.look_up(driver, given)

    def execute_many(self, connection: Connection, given: Sequence[Given]) -> None:
        """Like `rows`, for a statement without results, for each of `given`."""
        if (driver := _sqlite(connection)) is None:
            connection.execute(self.statement, given)
        else:
            driver.executemany(self._sql, map(self._values, given))

    def look_up(self, driver: sqlite3.Connection, given: Given) -> Rows:
        """Runs it with the driver directly; raises `sqlite3.Error`."""
        found = driver.execute(self._sql, self._values(given)).fetchall()
        if not self._read:
            return found
        rows = [list(row) for row in found]
        for row in rows:
            for n, read in self._read:
                row[n] = read(row[n])
        return rows

    def _values(self, given: Given) -> dict[str, Any]:
        values = {**self._constants, **given}
        for name, bound in self._bound:
            values[name] = bound(values[name])
        return values


def _sqlite(connection: Connection) -> sqlite3.Connection | None:
    driver = connection.connection.driver_connection
    return driver if isinstance(driver, sqlite3.Connection) else None


class Lookups:
    """A connection for the event loop: it never waits or writes, and interrupts long queries."""

    def __init__(self, url: URL) -> None:
        """Raises `sqlite3.Error`, also if there is no file."""
        file = Path(str(url.database)).absolute().as_uri()
        self.driver = sqlite3.connect(f"{file}?mode=rw", uri=True, timeout=0, isolation_level=None)
        self.driver.execute("PRAGMA query_only = ON")
        self.driver.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LENGTH)
        # SQLite counts the steps of a statement over all its runs: only the second call is surely within one run.
        self._calls = 0
        self.driver.set_progress_handler(self._takes_long, STEPS)

    def rows(self, query: Prepared, given: Given) -> Rows:
        """Returns the rows of a query; raises `sqlite3.Error`."""
        self._calls = 0
        return query.look_up(self.driver, given)

    def _takes_long(self) -> bool:
        self._calls += 1
        return self._calls > 1

    def close(self) -> None:
        """Closes the connection."""
        self.driver.close()
