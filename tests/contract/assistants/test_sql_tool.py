"""The SQL tool over PostgreSQL: what can be read of it, and everything that must not work."""

from __future__ import annotations

import asyncio

import pytest

from serving.assistants.tools.sql import columns, sql_tool
from serving.assistants.tools.tool import MAX_OBSERVATION
from serving.config import SecretRef
from tests.unit.assistants.tools.test_sql_tool import ENDLESS, ask, patient, read, settings

__all__ = ["patient"]


@pytest.fixture(scope="module")
def database(postgres):
    """A database with rivers, and a user who may read and even write them."""
    url = postgres.database()
    name = url.rpartition("/")[2]
    postgres.sql("CREATE ROLE angler LOGIN PASSWORD 'worm'")
    for statement in (
        "CREATE TABLE rivers (id integer PRIMARY KEY, name text, km double precision)",
        "INSERT INTO rivers VALUES (1, 'Aare', 288.0), (2, 'Inn', 518.5), (3, 'Rhône', NULL)",
        "GRANT ALL ON rivers TO angler",
        "GRANT ALL ON SCHEMA public TO angler",
        "CREATE SEQUENCE numbers",
        "GRANT ALL ON SEQUENCE numbers TO angler",
        "CREATE FUNCTION wipe() RETURNS bigint LANGUAGE sql VOLATILE SECURITY DEFINER AS "
        "'WITH gone AS (DELETE FROM rivers RETURNING 1) SELECT count(*) FROM gone'",
    ):
        postgres.sql(statement, name)
    yield name
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")
    postgres.sql("DROP ROLE angler")


@pytest.fixture
def angler(postgres, database, monkeypatch):
    monkeypatch.setenv("WORM", "worm")
    url = f"postgresql://angler@127.0.0.1:{postgres.port}/{database}"
    return settings(url, password=SecretRef(ref="env:WORM"), tables=["rivers"], timeout_s=20)


def kept(postgres, database):
    return postgres.sql("SELECT * FROM rivers ORDER BY id", database), postgres.sql(
        "SELECT last_value FROM numbers", database
    )


async def test_postgresql_rows_are_read(angler):
    tool = sql_tool(angler, await columns(angler))
    assert tool.description.endswith("read only. rivers(id integer, name text, km double precision)")
    said = await ask(angler, "SELECT * FROM rivers ORDER BY km DESC NULLS LAST; ")
    assert read(said) == (
        "3 rows:",
        ["id", "name", "km"],
        [["2", "Inn", "518.5"], ["1", "Aare", "288"], ["3", "Rhône", None]],
    )
    assert read(await ask(angler, "TABLE rivers -- all"))[0] == "3 rows:"
    assert read(await ask(angler, "VALUES (1, '%s'), (2, '%')"))[2] == [["1", "%s"], ["2", "%"]]


async def test_postgresql_values_of_any_type_become_text(angler):
    sql = (
        "SELECT '\\x000102'::bytea AS a, repeat('x', 5000) AS a, ARRAY[1, 2], ROW(1, 'x'), '{\"a\": 1}'::jsonb, "
        "'infinity'::float8, '2026-01-02'::date, NULL, true, 10::numeric ^ 30, '1 day'::interval, 'x', int4range(1, 5)"
    )
    _, columns, ((*values,),) = read(await ask(angler, sql))
    assert columns[:2] == ["a", "a"]
    assert values[0] == "(3 bytes)"
    assert (len(values[1]), values[1][-1]) == (501, "…")
    assert values[2:5] == ["{1,2}", "(1,x)", '{"a": 1}']
    assert values[5:9] == ["Infinity", "2026-01-02", None, "true"]
    assert values[10:] == ["1 day", "x", "[1,5)"]


POSTGRES_TRICKS = [
    "INSERT INTO rivers VALUES (9, 'x', 1)",
    "UPDATE rivers SET name = 'x'",
    "DELETE FROM rivers RETURNING id",
    "WITH gone AS (DELETE FROM rivers RETURNING id) SELECT * FROM gone",
    "SELECT * FROM rivers FOR UPDATE",
    "TRUNCATE rivers",
    "DROP TABLE rivers",
    "CREATE TABLE x AS SELECT 1",
    "SELECT 1 INTO x",
    "SELECT nextval('numbers')",
    "SELECT setval('numbers', 99)",
    "SELECT wipe()",
    "COMMIT",
    "ROLLBACK; DELETE FROM rivers",
    "SELECT 1; DELETE FROM rivers",
    "SELECT 1; COMMIT; DELETE FROM rivers; SELECT 1",
    "SET TRANSACTION READ WRITE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SET default_transaction_read_only = off",
    "SELECT set_config('transaction_read_only', 'off', false), wipe()",
    "SELECT set_config('transaction_read_only', 'off', true), nextval('numbers')",
    "DO $$ BEGIN DELETE FROM rivers; END $$",
    "DO $$ BEGIN COMMIT; DELETE FROM rivers; END $$",
    "CALL wipe()",
    "EXPLAIN ANALYZE DELETE FROM rivers",
    "COPY rivers TO PROGRAM 'cat'",
    "COPY (SELECT 1) TO STDOUT",
    "COPY rivers FROM STDIN",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/x')",
    "PREPARE x AS DELETE FROM rivers",
    "EXECUTE x",
    "LISTEN x",
    "LOCK TABLE rivers IN ACCESS EXCLUSIVE MODE",
    "VACUUM rivers",
    "GRANT ALL ON rivers TO PUBLIC",
    "CREATE EXTENSION dblink",
    "SELECT 1) AS x; DELETE FROM rivers; --",
    "SELECT 1) AS given(c0) UNION ALL SELECT repeat('x', 10000) FROM (SELECT 1",
    "SELECT 1 /*",
    "SELECT 1 AS a, $1",
    "SELECT",
    "",
    ";",
    "-- nothing",
    "SELECT '\ud800'",
    "SELECT " + ", ".join("1" * 201),
]


@pytest.mark.parametrize("trick", POSTGRES_TRICKS, ids=range(len(POSTGRES_TRICKS)))
async def test_nothing_is_written_to_postgresql(postgres, database, angler, trick):
    before = kept(postgres, database)
    said = await ask(angler, trick)
    assert said.startswith("Error: "), said
    assert kept(postgres, database) == before


@pytest.mark.parametrize(
    "sql", [ENDLESS, "SELECT pg_sleep(1000)", "SELECT set_config('statement_timeout', '0', false), pg_sleep(1000)"]
)
async def test_endless_postgresql_queries_are_cancelled(postgres, angler, sql):
    assert (
        await ask(angler.model_copy(update={"timeout_s": 1, "tables": ()}), sql)
        == "Error: the query took longer than 1 s."
    )
    busy = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'angler' AND state = 'active'"
    async with asyncio.timeout(120):
        while postgres.sql(busy) != [(0,)]:
            await asyncio.sleep(0.01)


async def test_postgresql_results_are_bounded(angler):
    head, _, rows = read(await ask(angler, "SELECT * FROM generate_series(1, 100000)"))
    assert (head, len(rows)) == ("the first 50 rows; there are more:", 50)
    said = await ask(angler, "SELECT repeat('x', 5000000) FROM generate_series(1, 30)")
    assert len(said) < MAX_OBSERVATION
    assert "there are more" in said


@pytest.mark.parametrize(
    "grant",
    [
        "ALTER ROLE poacher SUPERUSER",
        "ALTER ROLE poacher REPLICATION",
        "GRANT pg_write_server_files TO poacher",
        "GRANT pg_execute_server_program TO poacher",
        "GRANT headrace TO poacher",
    ],
)
async def test_a_user_with_too_many_rights_is_refused(postgres, angler, grant):
    postgres.sql("CREATE ROLE poacher LOGIN PASSWORD 'worm'")
    postgres.sql(grant)
    url = angler.database.replace("angler", "poacher")
    said = await ask(angler.model_copy(update={"tables": (), "database": url}), "SELECT 1")
    postgres.sql("DROP ROLE poacher")
    assert "which reading does not need" in said


@pytest.mark.parametrize(
    "change",
    [{"password": None}, {"password": SecretRef(ref="env:NOT_THERE")}, {"database": "postgresql://a@127.0.0.1:1/b"}],
    ids=str,
)
async def test_a_database_that_does_not_answer(angler, change, monkeypatch):
    monkeypatch.delenv("PGPASSWORD")
    monkeypatch.setenv("NOT_IT", "wrong")
    said = await ask(angler.model_copy(update={"tables": (), **change}), "SELECT 1")
    assert said.startswith("Error: ")
    assert "worm" not in said


async def test_the_stacks_own_database_under_another_name_is_refused(postgres, database, angler):
    postgres.sql("CREATE TABLE memories ()", database)
    assert read(await ask(angler, "TABLE rivers"))[0] == "3 rows:"
    postgres.sql("CREATE TABLE turn_vectors ()", database)
    said = await ask(angler, "TABLE rivers")
    postgres.sql("DROP TABLE memories, turn_vectors", database)
    assert said == "Error: this is the stack's own database, which tools must not read."


async def test_unknown_postgresql_tables_are_not_described(angler):
    found = await columns(angler.model_copy(update={"tables": ("rivers", "lakes", "public.rivers")}))
    assert found.keys() == {"rivers", "public.rivers"}
