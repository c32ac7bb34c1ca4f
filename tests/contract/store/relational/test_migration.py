"""The schema that migrations make, and databases that other versions, other processes or a kill left."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, select, text

from serving.api.background.batch_input import InputLine
from serving.api.background.batch_output import _answered_line
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.__main__ import main
from serving.store.conversations import Conversations
from serving.store.errors import NewerDatabase, OlderDatabase, StoreUnavailable, UnreleasedDatabase
from serving.store.relational.database import Database
from serving.store.relational.migration import FIRST, HEAD
from serving.store.relational.tables import files, meta, metadata, tenants, users
from tests.servers.postgres import Postgres

sqlite_only = pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
postgresql_only = pytest.mark.parametrize("new_url", ["postgresql"], indirect=True)
RELEASED = Path(__file__).parents[3] / "fixtures" / "release-0.1.0"
PARTIAL = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql LIKE '%WHERE%'",
    "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE indexdef LIKE '% WHERE %'",
}

TO_33 = (
    "DROP INDEX ix_batches_answer_bytes",
    "DROP INDEX ix_jobs_bytes",
    "ALTER TABLE webhooks DROP COLUMN not_sent",
    "ALTER TABLE hub_evaluations DROP COLUMN weights",
    "ALTER TABLE hub_releases DROP COLUMN gate_override",
    "DROP TABLE hub_consents",
    "DROP INDEX ix_audit_actor",
    "DROP INDEX ix_audit_target",
    "UPDATE meta SET value = '33' WHERE key = 'format'",
    "UPDATE alembic_version SET version_num = '0033'",
)
"""What takes a database back to format 33."""

Open = Callable[..., Database]
T = TypeVar("T")


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """One that each test migrates itself."""
    return new_url()


@pytest.fixture
async def opened(url: str) -> AsyncIterator[Open]:
    """Opens the test's database, again and again, and closes it."""
    made: list[Database] = []

    def open(**given: object) -> Database:
        made.append(Database(url, **given))  # type: ignore[arg-type]
        return made[-1]

    yield open
    for database in made:
        await database.close()


def differences(connection: Connection) -> list[object]:
    """What the schema lacks of the tables' models, or has beside them."""
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))


@uninterrupted
async def call(database: Database, work: Callable[[Connection], T]) -> T:
    async with database.read() as connection:
        return await connection.run_sync(work)


@uninterrupted
async def execute(database: Database, statement: str) -> None:
    async with database.write() as connection:
        await connection.execute(text(statement))


async def of_format(opened: Open, number: int) -> None:
    """Makes a database that says that it has this format."""
    await opened().migrate()
    await execute(opened(), f"UPDATE meta SET value = '{number}' WHERE key = 'format'")


async def test_models_are_the_migrated_schema(database: Database) -> None:
    assert await call(database, differences) == []
    # Alembic does not compare the condition of a partial index.
    query = text(PARTIAL[database.url.get_backend_name()])
    sql = dict(await call(database, lambda c: [tuple(row) for row in c.execute(query)]))
    unfinished = {"ix_jobs_unfinished", "ix_jobs_waiting", "ix_jobs_group", "uq_jobs_dedupe"}
    counted = {"ix_jobs_bytes", "ix_batches_answer_bytes"}
    assert set(sql) == {"ix_jobs_running", "uq_hub_releases_open", *unfinished, *counted}
    assert {name for name, made in sql.items() if "queued" in made and "running" in made} == {
        *unfinished,
        "ix_jobs_bytes",
    }
    assert re.search(r"\bbytes > \(?0", sql["ix_jobs_bytes"])
    assert re.search(r"answer_bytes > \(?0", sql["ix_batches_answer_bytes"])
    assert "running" in sql["ix_jobs_running"]
    assert "canary" in sql["uq_hub_releases_open"]
    assert "paused" in sql["uq_hub_releases_open"]


@uninterrupted
async def test_a_new_database_has_the_stacks_own_tenant_and_user(database: Database) -> None:
    async with database.read() as connection:
        assert (await connection.execute(select(tenants.c.id))).scalars().all() == ["default"]
        found = (await connection.execute(select(users.c.tenant, users.c.user, users.c.role, users.c.groups))).all()
    assert found == [("default", "admin", "admin", [])]


@uninterrupted
async def test_migrating_twice_changes_nothing(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(meta.insert().values(key="mark", value="kept"))
    await database.migrate()
    async with database.read() as connection:
        assert (await connection.execute(select(meta.c.value).where(meta.c.key == "mark"))).scalar() == "kept"
        assert (await connection.execute(select(meta.c.value).where(meta.c.key == "format"))).scalar() == str(HEAD)


async def test_databases_of_one_process_migrate_together(new_url: Callable[[], str]) -> None:
    several = [Database(url) for url in (new_url() for _ in range(4)) for _ in range(2)]
    await asyncio.gather(*(d.migrate() for d in several))
    await asyncio.gather(*(d.check() for d in several))
    for d in several:
        await d.close()


MIGRATE = """
import asyncio, sys
from serving.store.relational.database import Database
async def main():
    database = Database(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    await database.migrate()
    await database.check()
    await database.close()
asyncio.run(main())
"""


def test_processes_migrate_together(url: str, spawn) -> None:
    processes = [spawn(MIGRATE, url) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(60) for process in processes] == [0, 0, 0]


KILLED = """
import asyncio, os, signal, sys
from sqlalchemy import Engine, event
from serving.store.relational.database import Database
@event.listens_for(Engine, "after_cursor_execute")
def die(_connection, _cursor, statement, *_):
    if sys.argv[2] in statement:
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(Database(sys.argv[1]).migrate())
"""


@pytest.mark.parametrize("at", ["CREATE TABLE alembic_version", "CREATE TABLE jobs", "INSERT INTO meta"])
async def test_a_migration_that_is_killed_leaves_nothing(url: str, opened: Open, spawn, at: str) -> None:
    assert await asyncio.to_thread(spawn(KILLED, url, at).wait, 60) == -signal.SIGKILL
    with pytest.raises(OlderDatabase, match=f"format 0 and this Headrace needs {HEAD}"):
        await opened(migrates=False).start()
    await opened().migrate()
    assert await call(opened(), differences) == []


@postgresql_only
async def test_a_migration_that_fails_leaves_nothing(postgres: Postgres, url: str, opened: Open) -> None:
    name = url.rpartition("/")[2]
    postgres.sql("CREATE TABLE vector_stores (id int)", name)  # in the way of the migration's own
    with pytest.raises(Exception, match="already exists"):
        await opened().migrate()
    assert postgres.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name) == [(1,)]
    postgres.sql("DROP TABLE vector_stores", name)
    await opened().migrate()


@sqlite_only
@uninterrupted
async def test_a_database_of_the_last_release_is_migrated(url: str, alice: Principal) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    path.parent.mkdir()
    shutil.copy(RELEASED / "data" / "headrace.db", path)
    uploaded = json.loads((RELEASED / "uploaded.json").read_text())
    async with Database(url) as database:
        async with database.read() as connection:
            assert (await connection.execute(select(meta.c.value).where(meta.c.key == "format"))).scalar() == str(HEAD)
            assert uploaded["id"] in (await connection.execute(select(files.c.id))).scalars().all()
            assert await connection.run_sync(differences) == []
        words = [{"type": "input_text", "text": "hi"}]
        said = {"type": "message", "role": "user", "status": "completed", "content": words}
        assert (await Conversations(database).create(alice, items=[said])).last_seq == 1


@sqlite_only
async def test_a_rejected_database_is_not_changed(url: str, opened: Open) -> None:
    await of_format(opened, HEAD + 1)
    path = Path(url.removeprefix("sqlite:///"))
    before = path.read_bytes()
    with pytest.raises(NewerDatabase):
        await opened().migrate()
    assert path.read_bytes() == before


async def test_gateways_do_not_migrate_an_empty_database(opened: Open) -> None:
    if opened().is_sqlite:
        Path(str(opened().url.database)).parent.mkdir()
    with pytest.raises(OlderDatabase, match=f"format 0 and this Headrace needs {HEAD}"):
        await opened(migrates=False).start()
    with pytest.raises(StoreUnavailable, match="never migrated"):
        await opened().check()
    await opened().start()
    await opened(migrates=False).start()


@pytest.mark.parametrize("migrates", [True, False])
@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (HEAD + 1, NewerDatabase, f"format {HEAD + 1} and this Headrace knows up to {HEAD}: it was written by a newer"),
        (FIRST - 1, UnreleasedDatabase, f"knows {FIRST} and later: it was written by an unreleased .* an empty data"),
        (1, UnreleasedDatabase, "format 1 and .* nothing upgrades it"),
    ],
)
async def test_an_unknown_schema_version_is_rejected(
    opened: Open, number: int, error: type[Exception], words: str, migrates: bool
) -> None:
    await of_format(opened, number)
    with pytest.raises(error, match=words):
        await opened(migrates=migrates).start()


@pytest.mark.parametrize("command", ["migrate", "wait"])
@pytest.mark.parametrize("number", [HEAD + 1, FIRST - 1])
async def test_wait_returns_at_once_for_permanent_errors(
    url: str, opened: Open, capsys: pytest.CaptureFixture[str], command: str, number: int
) -> None:
    await of_format(opened, number)
    assert await asyncio.to_thread(main, [command, "--database", url, "--data", "/none"]) == 1
    assert capsys.readouterr().err.startswith(f"error: the database has format {number} and")


async def test_keys_stay_valid_and_webhooks_belong_to_who_set_them(opened: Open) -> None:
    await opened().migrate()
    for statement in (
        *TO_33,
        "ALTER TABLE keys DROP COLUMN confirmed",
        "ALTER TABLE webhooks DROP COLUMN set_by",
        "ALTER TABLE vector_store_files DROP COLUMN extraction",
        "UPDATE meta SET value = '31' WHERE key = 'format'",
        "UPDATE alembic_version SET version_num = '0031'",
        *(
            f'INSERT INTO keys (id, hash, tenant, "user", name, scopes, bootstrap, created_at) '
            f"VALUES ('{id}', '{id}', 'default', 'admin', '', '[]', {bootstrap}, 0)"
            for id, bootstrap in (("key_stack", "true"), ("key_admin", "false"))
        ),
        *(
            f"INSERT INTO webhooks (id, tenant, url, events, private, secret, created_at) "
            f"VALUES ('{id}', 'acme', 'https://a.example', '[]', {private}, 's', 0)"
            for id, private in (
                ("wh_private", "true"),
                ("wh_stack", "false"),
                ("wh_admin", "false"),
                ("wh_old", "false"),
            )
        ),
        *(
            "INSERT INTO audit (tenant, seq, at, key_id, action, target, outcome, detail, previous, signed_with, hash) "
            f"VALUES ('acme', {seq}, 0, '{key}', 'webhook.create', '{target}', 'ok', '{{}}', '', '', '')"
            for seq, key, target in ((1, "key_stack", "wh_stack"), (2, "key_admin", "wh_admin"))
        ),
    ):
        await execute(opened(), statement)
    await opened().migrate()
    found = dict(
        await call(opened(), lambda c: [tuple(row) for row in c.execute(text("SELECT id, set_by FROM webhooks"))])
    )
    assert found == {"wh_private": "platform", "wh_stack": "platform", "wh_admin": "tenant", "wh_old": "tenant"}
    confirmed = await call(opened(), lambda c: c.execute(text("SELECT confirmed FROM keys")).scalars().all())
    assert [bool(each) for each in confirmed] == [True, True]


async def test_answers_of_batches_under_way_are_counted(opened: Open) -> None:
    """As many bytes as their lines will have in a file, but for ids that are not stored."""
    bodies = {1: "{}", 2: '{"said":"Grüße"}'}
    rows = {"batch_none": "in_progress", "batch_more": "in_progress", "batch_ended": "completed"}
    counted = {"batch_none": 0, "batch_more": 10**6, "batch_ended": 0}
    await opened().migrate()
    for statement in (
        *TO_33,
        *(
            f'INSERT INTO batches (id, tenant, "user", caller, endpoint, input_file_id, status, times, total, '
            "completed, failed, answer_bytes, metadata, created_at, expires_at) VALUES "
            f"('{id}', 't', 'u', '{{}}', '/v1', 'f', '{status}', '{{}}', 2, 0, 0, {counted[id]}, '{{}}', 0, 0)"
            for id, status in rows.items()
        ),
        *(
            "INSERT INTO batch_lines (batch_id, number, tenant, request_id, status_code, body) "
            f"VALUES ('{id}', {number}, 't', 'req_{number}', 200, '{body.replace(':', chr(92) + ':')}')"
            for id in rows
            for number, body in bodies.items()
        ),
    ):
        await execute(opened(), statement)
    await opened().migrate()
    query = text("SELECT id, answer_bytes FROM batches")
    found = dict(await call(opened(), lambda c: [tuple(row) for row in c.execute(query)]))
    written = [
        _answered_line(InputLine(number, "", 0, 0), 200, f"req_{number}", body) for number, body in bodies.items()
    ]
    assert found == {"batch_none": sum(map(len, written)), "batch_more": 10**6, "batch_ended": 0}
