"""The SQL tool over SQLite, and its settings; tests/contract/assistants/test_sql_tool.py is over PostgreSQL."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import sqlite3
import threading
from types import SimpleNamespace

import pytest

from serving.assistants.tools import sql, sql_sqlite
from serving.assistants.tools.catalogue import CatalogTools
from serving.assistants.tools.mcp import McpServers
from serving.assistants.tools.rows import MAX_SHOWN
from serving.assistants.tools.sql import AGAIN_S, columns, sql_tool
from serving.assistants.tools.tool import MAX_OBSERVATION, Toolbox, ToolError
from serving.config import Catalog, SqlTool, Store, refuse_own_store

SETUP = """
CREATE TABLE rivers (id INTEGER PRIMARY KEY, name TEXT, km REAL);
INSERT INTO rivers VALUES (1, 'Aare', 288.0), (2, 'Inn', 518.5), (3, 'Rhône', NULL);
"""

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


async def ask(settings, sql):
    """Returns what a model is told."""
    return await Toolbox([sql_tool(settings, {})], 1, 60).call(settings.name, json.dumps({"sql": sql}))


def settings(url, **more):
    given = {"name": "rivers", "description": "Rivers.", "database": url, "timeout_s": 60, **more}
    return SqlTool.model_validate(given)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(sql, "COLUMNS_S", 60)


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self):
        return self.now


def read(said):
    """Returns (head, columns, rows)."""
    head, *lines = said.split("\n")
    columns, *rows = map(json.loads, lines)
    return head, columns, rows


# SQLite


@pytest.fixture
def file(tmp_path):
    with sqlite3.connect(tmp_path / "rivers.db") as connection:
        connection.executescript(SETUP)
        connection.execute("CREATE TABLE odd (a)")
        odd = [b"\x00" * 7, "x" * 5000, "\x00", float("inf"), 2**62, -1.5, None, "a\nb"]
        connection.executemany("INSERT INTO odd VALUES (?)", [(value,) for value in odd])
        connection.execute("INSERT INTO odd VALUES (CAST(x'ff41' AS TEXT))")
    connection.close()
    return tmp_path / "rivers.db"


@pytest.fixture
def lite(file):
    return settings(f"sqlite:///{file}", tables=["rivers"], timeout_s=60)


async def test_rows_are_read(lite):
    said = await ask(lite, "SELECT * FROM rivers ORDER BY km DESC;")
    assert read(said) == ("3 rows:", ["id", "name", "km"], [[2, "Inn", 518.5], [1, "Aare", 288.0], [3, "Rhône", None]])


async def test_the_tool_describes_the_tables(lite):
    tool = sql_tool(lite, await columns(lite))
    assert tool.description == "Rivers. SQLite's SQL, read only. rivers(id INTEGER, name TEXT, km REAL)"
    assert tool.untrusted
    assert not tool.effects


async def test_sqlite_values_of_any_type_are_bounded(lite):
    _, _, rows = read(await ask(lite, "SELECT a FROM odd"))
    values = [value for (value,) in rows]
    assert values[0] == "(7 bytes)"
    assert (len(values[1]), values[1][-1]) == (501, "…")
    assert values[2:] == ["\x00", "inf", 2**62, -1.5, None, "a\nb", "\ufffdA"]


TRICKS = [
    "PRAGMA table_info(rivers)",
    "INSERT INTO rivers VALUES (9, 'x', 1)",
    "UPDATE rivers SET name = 'x'",
    "DELETE FROM rivers",
    "REPLACE INTO rivers VALUES (1, 'x', 1)",
    "WITH x AS (SELECT 1) DELETE FROM rivers",
    "INSERT INTO rivers SELECT * FROM rivers RETURNING id",
    "DROP TABLE rivers",
    "ALTER TABLE rivers RENAME TO lakes",
    "CREATE TABLE x (a)",
    "CREATE TEMP TABLE x AS SELECT 1",
    "CREATE VIEW x AS SELECT 1",
    "CREATE TRIGGER x AFTER INSERT ON rivers BEGIN DELETE FROM rivers; END",
    "CREATE VIRTUAL TABLE x USING fts5(a)",
    "CREATE INDEX x ON rivers(name)",
    "REINDEX",
    "ANALYZE",
    "VACUUM",
    "VACUUM INTO '{folder}/copy.db'",
    "ATTACH '{folder}/other.db' AS other",
    "ATTACH 'file:{folder}/other.db?mode=rwc' AS other",
    "DETACH main",
    "PRAGMA query_only = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA journal_mode = WAL",
    "PRAGMA user_version = 5",
    "SELECT * FROM pragma_user_version",
    "SELECT load_extension('{folder}/x.so')",
    "SELECT LOAD_EXTENSION('x')",
    "SELECT fts3_tokenizer('simple', x'41414141')",
    "SELECT writefile('{folder}/x', 'y')",
    "SELECT readfile('/etc/passwd')",
    "BEGIN IMMEDIATE",
    "SAVEPOINT x",
    "COMMIT",
    "SELECT 1; DELETE FROM rivers",
    "SELECT 1; SELECT 2",
    "EXPLAIN DELETE FROM rivers",
    "INSERT INTO sqlite_master VALUES (1, 2, 3, 4, 5)",
    "SELECT * FROM rivers WHERE id IN (DELETE FROM rivers RETURNING id)",
    "",
    "-- nothing",
    ";",
    "SELECT '\0'",
    "SELECT '\ud800'",
    "SELECT " + "(" * 2000 + "1" + ")" * 2000,
    "SELECT randomblob(1000000000)",
    "SELECT zeroblob(2000000)",
    "SELECT " + ",".join("1" * 201),
    "SELECT " + "1," * 6000 + "1",
]


@pytest.mark.parametrize("trick", TRICKS, ids=range(len(TRICKS)))
async def test_nothing_is_written_to_sqlite(lite, file, tmp_path, trick):
    before = hashlib.sha256(file.read_bytes()).digest()
    said = await ask(lite, trick.format(folder=tmp_path) if "{folder}" in trick else trick)
    assert said.startswith("Error: "), said
    assert hashlib.sha256(file.read_bytes()).digest() == before
    assert [f.name for f in tmp_path.iterdir()] == ["rivers.db"]


@pytest.mark.parametrize(
    "sql",
    [
        ENDLESS,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0",
        "SELECT count(*) FROM odd a, odd b, odd c, odd d, odd e, odd f, odd g, odd h, odd i, odd j, odd k",
    ],
)
async def test_endless_queries_are_cancelled(lite, sql):
    said = await ask(lite.model_copy(update={"timeout_s": 0.2}), sql)
    assert said == "Error: the query took longer than 0.2 s."


async def test_a_late_thread_is_not_reported_as_waiting(lite, monkeypatch):
    times = itertools.count(step=1000)
    monkeypatch.setattr(sql_sqlite, "time", SimpleNamespace(monotonic=lambda: next(times)))
    assert await ask(lite, "SELECT 1") == "Error: the query took longer than 60 s."


@pytest.mark.parametrize(
    ("seconds", "message"),
    [(1, "the query needs too much time or memory"), (61, "the query took longer than 60 s")],
)
async def test_a_killed_child_reports_the_memory_limit(lite, monkeypatch, seconds, message):
    clock = Clock()

    def dies(*args, **options):
        clock.now += seconds
        return b'{"colu'

    monkeypatch.setattr(sql_sqlite, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(sql_sqlite, "ask", dies)
    assert await ask(lite, "SELECT 1") == f"Error: {message}."


async def under_way(count):
    while len(sql_sqlite._under_way) != count:
        await asyncio.sleep(0.01)


async def test_queued_queries_report_the_wait(lite):
    await under_way(0)
    endless = lite.model_copy(update={"timeout_s": 500})
    others = [asyncio.create_task(ask(endless, ENDLESS)) for _ in range(4)]
    await under_way(4)
    waits = asyncio.create_task(ask(lite.model_copy(update={"timeout_s": 1e-6}), "SELECT 1"))
    await under_way(5)
    for other in others:
        other.cancel()
    assert await waits == "Error: too many queries are waiting."
    await asyncio.gather(*others, return_exceptions=True)


async def test_abandoned_queries_are_cancelled(lite):
    asked = asyncio.create_task(ask(lite.model_copy(update={"timeout_s": 500}), ENDLESS))
    while not any(thread.name.startswith("sql-tool") for thread in threading.enumerate()):
        await asyncio.sleep(0)
    for _ in range(6):  # more than there are threads
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        asked = asyncio.create_task(ask(lite.model_copy(update={"timeout_s": 500}), ENDLESS))
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert read(await ask(lite, "SELECT 1"))[2] == [[1]]
    await under_way(0)


async def test_results_are_bounded(lite):
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"  # without end
    head, _, rows = read(await ask(lite, numbers))
    assert head == "the first 50 rows; there are more:"
    assert rows == [[i] for i in range(1, 51)]
    assert read(await ask(lite, f"{numbers} LIMIT 50"))[0] == "50 rows:"
    wide = await ask(lite, "SELECT a.a || a.a, b.a || b.a FROM odd a, odd b WHERE length(a.a) = 5000 AND b.a = a.a")
    assert len(wide) < 1200
    many = f"SELECT hex(zeroblob(200)) FROM ({numbers} LIMIT 49)"
    head, _, rows = read(said := await ask(lite, many))
    assert head == f"the first {len(rows)} rows; there are more:"
    assert 0 < len(rows) < 49
    assert len(said) < MAX_OBSERVATION
    assert len(said) <= MAX_SHOWN + 100


@pytest.mark.parametrize(("columns", "value"), [(9, "x" * 500), (200, "\x01" * 500), (200, "9" * 19), (30, '"é"' * 99)])
async def test_a_row_that_is_too_wide_is_cut(lite, columns, value):
    names = [f"{i}{'n' * min(80, 5000 // columns)}" for i in range(columns)]
    listed = ", ".join(f"v AS '{name}'" for name in names)
    said = await ask(lite, f"SELECT {listed} FROM (SELECT '{value}' AS v UNION ALL SELECT 'short')")
    head, columns_shown, rows = read(said)
    assert head == "the first 1 rows; there are more; values are cut:"
    assert all(name.startswith(shown.rstrip("…")) for name, shown in zip(names, columns_shown, strict=True))
    assert all(shown[:-1] == value[: len(shown) - 1] and shown[-1] == "…" for shown in rows[0])
    assert len(said) <= MAX_SHOWN + 100


SLOW = [
    "SELECT instr(hex(zeroblob(490000)), hex(zeroblob(245000)) || '1')",
    "SELECT length(replace(hex(zeroblob(490000)), hex(zeroblob(245000)) || '1', 'x'))",
]


@pytest.mark.parametrize("sql", SLOW)
async def test_endless_functions_are_cancelled_without_blocking(lite, sql):
    await under_way(0)
    hurried = lite.model_copy(update={"timeout_s": 0.3})
    said = await asyncio.gather(*(ask(hurried, sql) for _ in range(4)))
    assert set(said) == {"Error: the query took longer than 0.3 s."}
    assert read(await ask(lite, "SELECT 1"))[2] == [[1]]


async def test_sorting_uses_bounded_memory(lite):
    sql = (
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x, zeroblob(900000) FROM c ORDER BY -x"
    )
    assert await ask(lite.model_copy(update={"timeout_s": 60}), sql) == "Error: the query needs too much memory."


@pytest.mark.parametrize("open_", [True, False])
async def test_a_file_with_a_log_of_writes(file, lite, open_):
    writer = sqlite3.connect(file)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute(
        "CREATE TABLE big AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, "
        "zeroblob(3000) AS b FROM n LIMIT 6000"
    )
    writer.commit()
    if not open_:
        writer.close()
    assert read(await ask(lite, "SELECT count(*), sum(length(b)) FROM big"))[2] == [[6000, 18_000_000]]
    writer.close()


async def test_the_stacks_own_file_under_another_name_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE memories (a)")
    own = settings(f"sqlite:///{tmp_path}/a.db", tables=["memories"])
    assert read(await ask(own, "SELECT * FROM memories"))[0] == "0 rows:"
    connection.execute("CREATE TABLE turn_vectors (a)")
    connection.close()
    assert (
        await ask(own, "SELECT * FROM memories")
        == "Error: this is the stack's own database, which tools must not read."
    )
    with pytest.raises(ToolError, match="own database"):
        await columns(own)


async def test_table_descriptions_are_retried(tmp_path):
    file, clock = tmp_path / "a.db", Clock()
    tools = CatalogTools(McpServers(), [settings(f"sqlite:///{file}", tables=["rivers", "lakes"])], clock)

    async def told():
        [tool] = await tools.get(["rivers"], "acme")
        return tool.description.removeprefix("Rivers. SQLite's SQL, read only.").strip()

    assert await told() == ""
    sqlite3.connect(file).executescript(SETUP).connection.close()
    assert await told() == ""
    clock.now += AGAIN_S
    rivers = "rivers(id INTEGER, name TEXT, km REAL)"
    assert await told() == rivers  # and nothing of lakes, which are not there
    sqlite3.connect(file).executescript("CREATE TABLE lakes (name TEXT)").connection.close()
    assert await told() == rivers
    clock.now += AGAIN_S
    assert await told() == f"{rivers}; lakes(name TEXT)"
    file.unlink()
    clock.now += 1e9
    assert await told() == f"{rivers}; lakes(name TEXT)"


async def test_a_database_has_seconds_to_tell_of_its_tables(monkeypatch, lite):
    monkeypatch.setattr(sql, "COLUMNS_S", 1e-6)
    with pytest.raises(ToolError, match=r"longer than 1e-06 s"):
        await columns(lite.model_copy(update={"timeout_s": 600}))


async def test_missing_database_files_are_not_created(tmp_path):
    missing = settings(f"sqlite:///{tmp_path}/no.db")
    assert await ask(missing, "SELECT 1") == "Error: unable to open database file."
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_is_none(tmp_path):
    (tmp_path / "a.db").write_text("no database at all" * 100)
    assert (await ask(settings(f"sqlite:///{tmp_path}/a.db"), "SELECT * FROM x")).startswith("Error: ")


async def test_a_file_of_any_name(tmp_path):
    odd = tmp_path / "a ?mode=rwc#%41.db"
    sqlite3.connect(odd).executescript(SETUP).connection.close()
    url = f"sqlite:///{tmp_path}/a%20%3Fmode=rwc%23%2541.db"
    assert read(await ask(settings(url), "SELECT count(*) FROM rivers"))[2] == [[3]]


# Settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "python"},
        {"database": "sqlite:///relative.db"},
        {"database": "sqlite://"},
        {"database": "sqlite:////a.db?mode=rwc"},
        {"database": "mysql://a@b/c"},
        {"database": "postgresql://a:secret@b/c"},
        {"database": "postgresql://b/c"},
        {"database": "postgresql://a@b"},
        {"database": "postgresql://a@b/c?options=-c%20x"},
        {"database": "postgresql://a@b/c?passfile=/x"},
        {"database": "postgresql://a@b/c?password=x"},
        {"database": "postgresql://a@b/c?host=/tmp"},
        {"database": "postgresql://a@b/c#d"},
        {"database": "postgresql://a@b:5432,b:5432/c"},
        {"database": "postgresql://a@b,b/c"},
        {"database": "postgresql://a@b%2Cb/c"},
        {"database": "postgresql://a@b:0/c"},
        {"database": "postgresql://a@b:99999/c"},
        {"database": "postgresql://a@b:x/c"},
        {"password": {"ref": "env:A"}},
        {"tables": ["a b"]},
        {"tables": ["a;b"]},
        {"tables": ["a.b.c"]},
        {"max_rows": 0},
        {"timeout_s": 0},
    ],
    ids=str,
)
def test_invalid_settings_are_rejected(wrong):
    with pytest.raises(ValueError):
        settings(**{"url": "sqlite:////a.db", **{"url" if k == "database" else k: v for k, v in wrong.items()}})


@pytest.mark.parametrize(
    ("store", "tool"),
    [
        ("sqlite:////a/h.db", "sqlite:////a/h.db"),
        ("sqlite:////a/h.db", "sqlite:////a/../a/./h.db"),
        ("sqlite+aiosqlite:////a/h.db", "sqlite:////a/%68.db"),
        ("postgresql://h@db/headrace", "postgresql://reader@DB:5432/headrace"),
        ("postgresql+psycopg://h@127.0.0.1/headrace", "postgresql://r@localhost/headrace?sslmode=require"),
    ],
)
def test_the_stacks_own_database_is_refused(store, tool):
    with pytest.raises(ValueError, match=r"'rivers' must not read the stack's own database: what all tenants said"):
        refuse_own_store(Store(database=store, data="/a"), Catalog(tools=(settings(tool),)))


@pytest.mark.parametrize(
    ("store", "tool"),
    [
        ("sqlite:////a/h.db", "sqlite:////a/i.db"),
        ("postgresql://h@db/headrace", "postgresql://h@db/shop"),
        ("postgresql://h@db/headrace", "postgresql://h@db:5433/headrace"),
        ("sqlite:////a/h.db", "postgresql://h@db/headrace"),
    ],
)
def test_other_databases_than_the_store_are_allowed(store, tool):
    refuse_own_store(Store(database=store, data="/a"), Catalog(tools=(settings(tool),)))
