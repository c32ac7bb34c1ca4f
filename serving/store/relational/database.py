"""The relational database: engine and transactions. SQLite on `local`, PostgreSQL elsewhere."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import Any, Self, TypeVar, cast

from sqlalchemy import create_engine, select
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from serving.config import Store
from serving.core.uninterrupted import finish, require, uninterrupted
from serving.store.errors import InvalidValue, StoreUnavailable
from serving.store.relational import encoding, migration, postgres, sqlite
from serving.store.relational.postgres import PostgresAccess
from serving.store.relational.prepared import Given, Lookups, Prepared, Rows
from serving.store.relational.tables import meta, metadata
from serving.telemetry import metrics

TOGETHER = 256
"""Maximum number of writers that share one commit: a batch must not keep others waiting for long."""

T = TypeVar("T")

_READING = metrics.database_seconds.labels("read")
_WRITING = metrics.database_seconds.labels("write")

_around: ContextVar[tuple[Database, AsyncConnection] | None] = ContextVar("around", default=None)
"""The current `Database.atomically` transaction of this task."""


class Database:
    """One database, shared by all stores of a process. Call `start()` before the first transaction.

    `url` is an SQLAlchemy URL: `sqlite:////abs/path.db` or `postgresql://…`; the async driver is added. Transactions
    raise `StoreUnavailable` for failures of the database itself, and work again once it has recovered.
    """

    def __init__(
        self,
        url: str,
        *,
        busy_timeout_s: float = 10,
        pool_size: int = 4,
        migrates: bool = True,
        access: PostgresAccess | None = None,
    ) -> None:
        self.url = _normalise(url)
        self._busy_timeout_s = busy_timeout_s
        self._migrates = migrates
        self._access = access or PostgresAccess()
        particular: dict[str, Any] = {}
        if not self.is_sqlite:
            # A restarted server has closed the pool's connections; the ping detects that before a request does.
            particular = {"pool_pre_ping": True, "pool_recycle": 1800, "connect_args": self._access.arguments()}
        self._engine = create_async_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=busy_timeout_s,
            hide_parameters=True,
            **encoding.ENGINE,
            **particular,
        )
        # SQLite has one writer: this queue is fair, whereas its own busy handler sleeps and retries.
        self._writing: AbstractAsyncContextManager[object] = nullcontext()
        self._blocking: Engine | None = None
        self._committing: Engine | None = None
        self._lookups: Lookups | None = None
        self._queue: deque[_Waiting] = deque()
        self._batches: asyncio.Task[None] | None = None  # running while the queue is not empty
        if self.is_sqlite:
            self._writing = asyncio.Lock()
            sqlite.configure(self._engine.sync_engine, busy_timeout_s=busy_timeout_s)
            self._reader = self._engine
            self._writer = self._engine.execution_options(**{sqlite.WRITE: True})
            # The async driver switches to a thread several times per statement; here a whole transaction does once.
            self._blocking = self._blocking_engine(sqlite.READING, pool_size)
            self._committing = self._blocking_engine(sqlite.WRITING, 1)
        else:
            postgres.configure(self._engine.sync_engine, self._access)
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            self._writer = self._engine.execution_options(isolation_level="READ COMMITTED")

    def _blocking_engine(self, driver: str, pool_size: int) -> Engine:
        engine = create_engine(
            self.url.set(drivername=driver),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=self._busy_timeout_s,
            hide_parameters=True,
            **encoding.ENGINE,
        )
        sqlite.configure(engine, busy_timeout_s=self._busy_timeout_s)
        return engine

    @classmethod
    def from_config(cls, store: Store) -> Self:
        """Returns the database of a configuration."""
        access = PostgresAccess(store.password, store.tls, store.tls_ca, store.statement_timeout_s)
        return cls(store.database, pool_size=store.connections, migrates=store.migrate, access=access)

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)!r})"

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Begins a read-only transaction that sees one state of the database. Like `write`, only inside an
        `uninterrupted` function.
        """
        require()
        if (around := self._around()) is not None:
            yield around
            return
        with self._explained(), _READING.time():
            async with self._reader.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write(self, within: AsyncConnection | None = None) -> AsyncIterator[AsyncConnection]:
        """Begins a transaction that is durable when the block ends, and rolled back when the block raises.

        With `within`, the block is part of that transaction. In PostgreSQL several transactions write concurrently, and
        each statement sees what others have committed: `lock` rows that decide what is written.
        """
        require()
        if within is not None:
            yield within
            return
        if (around := self._around()) is not None:
            savepoint = await around.begin_nested()
            try:
                yield around
            except BaseException as e:
                if reason := self._explained().reason(e):
                    metrics.database_errors.inc()
                    # SQLite may have rolled everything back, and would continue without a transaction.
                    await around.rollback()
                    raise StoreUnavailable(reason) from e
                await savepoint.rollback()
                raise
            await savepoint.commit()
            return
        with _WRITING.time():
            async with self._writing:
                with self._explained():
                    async with self._writer.begin() as connection:
                        yield connection

    @uninterrupted
    async def atomically(self, work: Callable[[], Awaitable[T]]) -> T:
        """Runs `work`, with all of its task's reads and writes in one transaction.

        An exception inside that `work` handles rolls back only its own part. Others may wait for the end, so `work`
        must be short.
        """
        async with self.write() as connection:
            token = _around.set((self, connection))
            try:
                return await work()
            finally:
                _around.reset(token)

    def _around(self) -> AsyncConnection | None:
        around = _around.get()
        return around[1] if around is not None and around[0] is self else None

    async def query(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a transaction like `read`; faster for short reads."""
        require()
        if self._blocking is None or self._around() is not None:
            async with self.read() as connection:
                return await connection.run_sync(work)
        with _READING.time():
            return await asyncio.to_thread(self._query, self._blocking, work)

    def _query(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        with self._explained(), engine.begin() as connection:
            return work(connection)

    async def look_up(self, query: Prepared, given: Given) -> Rows:
        """Returns the rows of a query for a few keys; with SQLite without leaving the event loop."""
        if self.is_sqlite and self._around() is None:
            # On any failure, the normal way finds the same error or has more time.
            with suppress(sqlite3.Error):
                if self._lookups is None:
                    self._lookups = Lookups(self.url)
                with _READING.time():
                    return self._lookups.rows(query, given)
        return await self._rows(query, given)

    @uninterrupted
    async def _rows(self, query: Prepared, given: Given) -> Rows:
        return await self.query(lambda connection: query.rows(connection, given))

    async def group_commit(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a transaction that it may share with concurrent writers.

        With SQLite each commit waits for the disk, so waiting writers share the next one, in a separate thread. If one
        of them raises, only its own work is rolled back; a failure of the database rolls all back. With PostgreSQL each
        has its own transaction, and the server groups commits. `work` uses only its connection and has no other
        effects: it runs again when another writer's work fails.
        """
        require()
        if self._committing is None or self._around() is not None:
            async with self.write() as connection:
                return await connection.run_sync(work)
        waiting = _Waiting(work)
        self._queue.append(waiting)
        if self._batches is None:
            self._batches = asyncio.create_task(self._write_batches(self._committing))
        with _WRITING.time():
            return cast(T, await waiting.done)

    async def _write_batches(self, engine: Engine) -> None:
        """Commits waiting work until there is none; other writers can run between two batches."""
        try:
            while self._queue:
                async with self._writing:
                    batch = [self._queue.popleft() for _ in range(min(len(self._queue), TOGETHER))]
                    try:
                        ends = await asyncio.to_thread(self._commit, engine, batch)
                    except Exception as e:
                        ends = [(None, e)] * len(batch)
                for member, (result, error) in zip(batch, ends, strict=True):
                    if member.done.cancelled():
                        continue
                    if error is None:
                        member.done.set_result(result)
                    else:
                        member.done.set_exception(error)
        finally:
            self._batches = None

    def _commit(self, engine: Engine, batch: Sequence[_Waiting]) -> list[tuple[Any, Exception | None]]:
        """Runs and commits a batch. Returns the result or the error of each."""
        try:
            with self._explained(), engine.begin() as connection:
                return [(waiting.work(connection), None) for waiting in batch]
        except StoreUnavailable:
            raise
        except Exception as e:
            if len(batch) == 1:
                return [(None, e)]
        # Failures are rare, so savepoints, a quarter of a batch's time, are used only after one.
        with self._explained(), engine.begin() as connection:
            return [self._run(connection, waiting.work) for waiting in batch]

    def _run(self, connection: Connection, work: Callable[[Connection], Any]) -> tuple[Any, Exception | None]:
        savepoint = connection.begin_nested()
        try:
            result = work(connection)
        except Exception as e:
            if self._explained().reason(e) is not None:
                raise  # SQLite may have rolled the whole transaction back, and would continue without one
            savepoint.rollback()
            return None, e
        savepoint.commit()
        return result, None

    @uninterrupted
    async def check(self) -> None:
        """Raises `StoreUnavailable` when the database does not answer or was never migrated."""
        try:
            await self.query(lambda connection: connection.execute(select(meta.c.value).limit(1)).first())
        except DBAPIError as e:
            raise StoreUnavailable("the database was never migrated") from e

    async def start(self) -> None:
        """Migrates the schema, or only checks it if replicas do not migrate (`Store.migrate`)."""
        await (self.migrate() if self._migrates else self.require_current())

    async def migrate(self) -> None:
        """Migrates the schema in one transaction; replicas that start concurrently wait for each other.

        Raises `NewerDatabase` and `UnreleasedDatabase` for formats without a migration, `StoreUnavailable` for
        failures.
        """
        await finish(asyncio.to_thread(self._migrate))

    @uninterrupted
    async def require_current(self) -> None:
        """Raises `OlderDatabase`, `NewerDatabase` or `UnreleasedDatabase` unless the schema is this version's."""
        # Not with the async driver: if it cannot open its file, it leaves a thread that outlives the event loop, whose
        # traceback could garble the program's last line.
        migration.require_current(await self.query(migration.format_of))

    async def rewrite(self) -> None:
        """Rewrites the database without deleted rows, whose bytes would stay on disk otherwise.

        Others wait meanwhile. Raises `StoreUnavailable`, also if a long-running reader keeps old bytes alive.
        """
        async with self._writing:
            await finish(asyncio.to_thread(self._rewrite))

    def _rewrite(self) -> None:
        with self._explained():
            if self.is_sqlite:
                sqlite.rewrite(self.url, wait_s=max(self._busy_timeout_s, 60))
                return
            arguments = self._access.arguments(statement_timeout_s=0)
            engine = create_engine(self.url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)
            postgres.configure(engine, self._access)
            postgres.rewrite(engine, [table.name for table in metadata.sorted_tables])

    async def close(self) -> None:
        await self._engine.dispose()
        if self._lookups is not None:
            self._lookups.close()
            self._lookups = None
        for engine in (self._blocking, self._committing):
            if engine is not None:
                engine.dispose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def _explained(self) -> _Explained:
        return _Explained(self.url)

    def _migrate(self) -> None:
        with self._explained():
            migration.migrate(self.url, self._access, wait_s=max(self._busy_timeout_s, 60))


class _Waiting:
    """One writer of a batch; `done` is set when its work is durable or rolled back."""

    __slots__ = ("done", "work")

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self.work = work
        self.done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class _Explained:
    """Converts driver errors that mean a failing database to `StoreUnavailable`."""

    def __init__(self, url: URL) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _tb: object) -> None:
        if reason := self.reason(error):
            metrics.database_errors.inc()
            raise StoreUnavailable(reason) from error

    def reason(self, error: BaseException | None) -> str | None:
        """Returns the problem of the database and its remedy, None when the database is healthy."""
        if isinstance(error, PoolTimeout):
            return "every database connection is in use"
        if isinstance(error, IntegrityError):
            return None
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, sqlite3.Error):
            return sqlite.explain(cause, self._url)
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        if cause is not None and (reason := postgres.explain(cause, self._url, lost=lost)):
            return reason
        if isinstance(error, OSError):
            return f"database {self._url.database} cannot be used: {error.strerror or error}"
        return "the connection to the database was lost" if lost else None


def _normalise(url: str) -> URL:
    """Returns the URL with its async driver."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise InvalidValue("store.database", "must name a file: sqlite:////path/to/headrace.db")
        return parsed.set(drivername="sqlite+aiosqlite")
    # psycopg serves both the async engine and the migration.
    return parsed.set(drivername="postgresql+psycopg")
