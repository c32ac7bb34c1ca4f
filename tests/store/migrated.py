"""Databases that are migrated already, for tests of what is in them: a migration takes longer than most such tests."""

from __future__ import annotations

import asyncio
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from sqlalchemy.engine import make_url

from serving.store.relational import sqlite
from serving.store.relational.database import Database
from tests.servers.postgres import Postgres


def sqlite_at(url: str) -> str:
    """Makes a database of SQLite, whose folder need not be there, and returns its URL."""
    parsed = make_url(url)
    sqlite.prepare(parsed)
    Path(str(parsed.database)).write_bytes(_file())
    return url


def postgres_of(server: Postgres) -> str:
    """Makes a database of that server and returns its URL."""
    return server.database(_template(server))


@cache
def _file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "headrace.db"
        _migrate(f"sqlite:///{file}")
        assert [f.name for f in Path(folder).iterdir()] == [file.name]  # nothing waits in a WAL
        return file.read_bytes()


@cache
def _template(server: Postgres) -> str:
    url = server.database()
    _migrate(url)
    return url.rpartition("/")[2]


def _migrate(url: str) -> None:
    async def migrate() -> None:
        async with Database(url):
            pass

    with ThreadPoolExecutor(1) as elsewhere:  # this thread's event loop may be a test's
        elsewhere.submit(asyncio.run, migrate()).result()
