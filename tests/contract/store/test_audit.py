"""Events of several writers stand in one chain, which only grows."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Table, event, text
from sqlalchemy.exc import DBAPIError

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.security import audit as program
from serving.security.audit import AuditLog, export
from serving.security.audit_export import verify_export
from serving.store import audit as audit_rows
from serving.store import audit_chain
from serving.store.audit import MAX_DETAILS, PLATFORM, Entry, Selected
from serving.store.errors import InvalidValue, StoreError
from serving.store.relational.database import Database
from serving.store.relational.tables import audit as table
from serving.store.relational.tables import audit_pseudonyms

SECRET = "s" * 40


@pytest.fixture
def log(database: Database) -> AuditLog:
    return AuditLog(database, SECRET)


async def change(database: Database, statement: str, table: Table = table) -> None:
    """Does what an owner of the database can."""

    @uninterrupted
    async def run() -> None:
        async with database.write() as connection:
            await connection.execute(text("INSERT INTO meta VALUES ('audit_unlocked', 'test')"))
            await connection.execute(text(statement))
            await connection.execute(text("DELETE FROM meta WHERE key = 'audit_unlocked'"))

    await run()


async def test_events_contain_no_names(log: AuditLog, alice: Principal, mallory: Principal):
    await log.record(alice, "key.create", "key_1", subject="bob", detail={"scopes": 3}, request_id="r1")
    await log.record(mallory, "file.delete", "file-1", outcome="denied")
    [event] = (await log.page("acme")).items
    assert (event["seq"], event["action"], event["target"], event["outcome"]) == (1, "key.create", "key_1", "ok")
    assert event["actor"] == await log.pseudonym("acme", "alice")
    assert event["subject"] == await log.pseudonym("acme", "bob") != event["actor"]
    assert not {"alice", "bob"} & set(json.dumps(event).split('"'))
    assert await log.pseudonym("evil", "alice") != event["actor"]
    for user, found in (("alice", 1), ("bob", 1), ("carol", 0)):
        assert len((await log.page("acme", user=user)).items) == found


async def test_a_forgotten_salt_leaves_a_chain_that_verifies(database: Database, log: AuditLog, alice: Principal):
    await log.record(alice, "key.create")
    before = (await log.page("acme")).items[0]["actor"]
    await change(database, "DELETE FROM audit_pseudonyms", audit_pseudonyms)
    assert (await log.verify("acme")).problems == []
    assert await log.pseudonym("acme", "alice") != before
    assert (await log.page("acme", user="alice")).items == []


async def test_eight_writers_make_one_chain(new_url: Callable[[], str]):
    url = new_url()
    databases = [Database(url, busy_timeout_s=120) for _ in range(8)]
    for database in databases:
        await database.migrate()
    logs = [AuditLog(database, SECRET) for database in databases]
    callers = [Principal(tenant, f"u{n}", "k") for n, tenant in enumerate("aabaabaa")]
    await asyncio.gather(
        *(
            log.record(caller, "x", detail={"n": n})
            for log, caller in zip(logs, callers, strict=True)
            for n in range(20)
        )
    )
    for tenant, events in (("a", 120), ("b", 40)):
        found = await logs[0].verify(tenant)
        assert (found.events, found.head[0], found.problems) == (events, events, [])
    for database in databases:
        await database.close()


async def test_a_rotation_of_the_secret_leaves_the_chain_whole(database: Database, alice: Principal):
    before, after = AuditLog(database, SECRET, ["t" * 40]), AuditLog(database, "t" * 40, [SECRET])
    # Gateways of two steps stand side by side.
    for _ in range(2):
        await before.record(alice, "x")
        await after.record(alice, "y")
    assert await before.pseudonym("acme", "alice") == await after.pseudonym("acme", "alice")
    assert len((await after.page("acme", user="alice")).items) == 4
    anchors = await before.anchors() + await after.anchors()
    for log in (before, after):
        found = await log.verify("acme", anchors)
        assert (found.valid, found.problems, found.unchecked) == (True, [], 0)
    found = await AuditLog(database, "t" * 40).verify("acme")
    assert (found.valid, found.problems, found.unchecked) == (False, [], 2)
    await change(database, "UPDATE audit SET action = 'z' WHERE seq = 3")
    assert [problem.seq for problem in (await after.verify("acme")).problems] == [3]


@pytest.mark.parametrize("statement", ["UPDATE audit SET action = 'y'", "DELETE FROM audit", "TRUNCATE audit"])
async def test_the_table_only_grows(database: Database, log: AuditLog, alice: Principal, statement: str):
    await log.record(alice, "x")

    @uninterrupted
    async def run() -> None:
        async with database.write() as connection:
            await connection.execute(text(statement))

    with pytest.raises((DBAPIError, StoreError)):
        await run()
    assert [e["action"] for e in (await log.page("acme")).items] == ["x"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET action = 'y' WHERE seq = 2",
        "UPDATE audit SET detail = '{}' WHERE seq = 1",
        "UPDATE audit SET at = at + 1 WHERE seq = 3",
        "UPDATE audit SET seq = seq + 10",
        "DELETE FROM audit WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 1",
        "DELETE FROM audit WHERE seq = 3",
        "DELETE FROM audit",
    ],
)
async def test_tampering_by_the_database_owner_is_detected(
    database: Database, log: AuditLog, alice: Principal, statement: str
):
    for n in range(3):
        await log.record(alice, "x", detail={"n": n})
    anchors = await log.anchors()
    assert (await log.verify("acme", anchors)).problems == []
    await change(database, statement)
    assert (await log.verify("acme", anchors)).problems


async def test_time_removes_a_beginning(database: Database, log: AuditLog, alice: Principal):
    for _ in range(4):
        await log.record(alice, "x")
    anchors = await log.anchors()
    assert await log.prune(3600) == 0
    assert await log.prune(-1) == 3  # the newest stays
    [pruned, last] = (await log.page("acme")).items
    assert (pruned["action"], pruned["detail"]["through"], last["seq"]) == ("audit.prune", 3, 4)
    assert (await log.verify("acme", anchors)).problems == []
    assert await log.prune(-1) == 1
    await log.record(alice, "y")
    assert (await log.verify("acme", anchors)).problems == []


async def test_unauthenticated_requests_are_counted(log: AuditLog):
    for _ in range(3):
        log.count("authentication", "unknown")
    for n in range(2000):
        log.count("authentication", f"reason {n}")
    await log.flush()
    await log.flush()
    assert (await log.verify(PLATFORM)).events == 1001
    found = {e["detail"]["reason"]: e["detail"]["count"] async for e in log.events(PLATFORM)}
    assert found["unknown"] == 3
    assert sum(found.values()) == 2003


async def test_chains_are_locked_in_one_order(database: Database, log: AuditLog):
    """Two gateways that write to the same chains in two orders would wait for each other."""
    locked = []

    def note(_connection, _cursor, statement, parameters, *_rest):
        if "pg_advisory_xact_lock" in statement:
            locked.append(parameters["name"])

    event.listen(database._engine.sync_engine, "before_cursor_execute", note)
    await log._rows.append([Entry(tenant, "x", actor="u", detail={"n": n}) for n, tenant in enumerate("cabac")])
    assert locked == ([] if database.is_sqlite else sorted(locked))
    assert len(set(locked)) == (0 if database.is_sqlite else 3)
    assert [e["detail"]["n"] async for e in log.events("a")] == [1, 3]


async def test_verification_does_not_block_the_event_loop(
    log: AuditLog, alice: Principal, monkeypatch: pytest.MonkeyPatch
):
    """Between any two events that are hashed, the loop has a turn: it would have none if it hashed itself."""
    for n in range(3):
        await log.record(alice, "x", detail={"n": n})
    loop, hash, turns = asyncio.get_running_loop(), audit_chain.event_hash, []

    def after_a_turn(*given):
        turn = threading.Event()
        loop.call_soon_threadsafe(turn.set)
        turns.append(turn.wait(60))
        return hash(*given)

    monkeypatch.setattr(audit_chain, "event_hash", after_a_turn)
    assert (await log.verify("acme")).valid
    assert turns == [True, True, True]


async def test_counts_survive_a_database_outage(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path}/gone/a.db")
    log = AuditLog(database, SECRET)
    log.count("authentication", "unknown")
    await log.flush()
    await database.migrate()
    await log.flush()
    assert [e["detail"]["count"] async for e in log.events(PLATFORM)] == [1]
    await database.close()


@pytest.mark.parametrize(
    "entry",
    [
        {"action": ""},
        {"action": "x" * 65},
        {"target": "x" * 129},
        {"detail": {"a": "x" * 129}},
        {"detail": {"a": 1.5}},
        {"detail": {"a": 2**54}},
        {"detail": {"a": []}},
        {"detail": {"a": "\0"}},
        {"detail": {str(n): n for n in range(MAX_DETAILS + 1)}},
    ],
)
async def test_invalid_event_queries_are_rejected(database: Database, log: AuditLog, entry: dict):
    with pytest.raises(InvalidValue):
        await log._rows.append([Entry("acme", **{"action": "x", **entry})])
    assert await log.anchors() == []


async def test_pages_are_ordered_newest_first(log: AuditLog, alice: Principal):
    for n in range(5):
        await log.record(alice, f"x{n % 2}")
    page = await log.page("acme", limit=2)
    assert ([e["seq"] for e in page.items], page.has_more) == ([5, 4], True)
    page = await log.page("acme", limit=3, after=4)
    assert ([e["seq"] for e in page.items], page.has_more) == ([3, 2, 1], False)
    assert [e["seq"] for e in (await log.page("acme", action="x1")).items] == [4, 2]
    for limit in (0, 101):
        with pytest.raises(InvalidValue):
            await log.page("acme", limit=limit)


async def test_exports_verify_by_themselves(log: AuditLog, alice: Principal, mallory: Principal):
    for n in range(3):
        await log.record(alice, "x", detail={"ü": n})
        await log.record(mallory, "y")
    out = io.StringIO()
    assert await export(log, await log.tenants(), out) == 6
    lines = out.getvalue().splitlines()
    assert [(v.tenant, v.events, v.problems) for v in verify_export([log.key], iter(lines))] == [
        ("acme", 3, []),
        ("evil", 3, []),
    ]
    for i in range(len(lines)):
        cut = lines[:i] + lines[i + 1 :]
        assert any(v.problems for v in verify_export([log.key], iter(cut))), lines[i]
    later = io.StringIO()
    await log.record(alice, "x")
    await export(log, ["acme"], later)
    anchors = await log.anchors()
    assert any(v.problems for v in verify_export([log.key], iter(lines), anchors))
    assert not any(v.problems for v in verify_export([log.key], iter(later.getvalue().splitlines()), anchors[:1]))


async def test_an_export_of_some_events_shows_that_these_are_all(
    log: AuditLog, alice: Principal, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(audit_rows, "READ_TOGETHER", 2)
    for n in range(7):
        await log.record(alice, f"x{n % 3}", detail={"n": n}, outcome="ok" if n < 5 else "denied")
    batches = [lines async for lines in log.export("acme", Selected(action="x1"))]
    lines = b"".join(batches).decode().splitlines()
    assert [json.loads(line)["detail"]["n"] for line in lines[1:-1]] == [1, 4]
    assert json.loads(lines[0])["filter"]["action"] == "x1"
    assert max(lines.count(b"\n") for lines in batches) <= 2
    [found] = verify_export([log.key], iter(lines))
    assert (found.tenant, found.events, found.valid) == ("acme", 2, True)
    assert verify_export([b"another"], iter(lines))[0].unchecked == 3
    whole = b"".join([lines async for lines in log.export("acme")]).decode().splitlines()
    changed = [
        *(lines[:i] + lines[i + 1 :] for i in range(len(lines))),
        [*lines[:2], lines[1], *lines[2:]],
        [lines[0], lines[2], lines[1], lines[3]],
        [*lines[:2], whole[2], *lines[2:]],
        [*lines[:2], lines[2].replace('"n": 4', '"n": 5'), lines[3]],
        [lines[0].replace("x1", "x2"), *lines[1:]],
        [lines[0].replace("x1", "x2"), *lines[1:3], lines[3].replace("x1", "x2")],
        [lines[0], lines[-1].replace('"events": 2', '"events": 0')],
        lines[1:3] + whole[-1:],
    ]
    for one in changed:
        assert not any(v.valid for v in verify_export([log.key], iter(one))), one
    for which, numbers in (
        (Selected(outcome="denied"), [5, 6]),
        (Selected(user=await log.pseudonym("acme", alice.user), action="x2"), [2, 5]),
        (Selected(user=""), []),
        (Selected(end=0), []),
        (Selected(start=0), list(range(7))),
    ):
        some = b"".join([lines async for lines in log.export("acme", which)]).decode().splitlines()
        assert [json.loads(line)["detail"]["n"] for line in some[1:-1]] == numbers
        assert verify_export([log.key], iter(some))[0].valid
    assert [lines async for lines in log.export("nobody")] == []


async def test_an_export_begins_after_pruned_events(log: AuditLog, alice: Principal, monkeypatch: pytest.MonkeyPatch):
    await log.record(alice, "old")
    await log.record(alice, "old")
    monkeypatch.setattr(audit_rows, "now", lambda: time.time() + 100)
    await log.record(alice, "new")
    await log.prune(50)
    lines = b"".join([lines async for lines in log.export("acme")]).decode().splitlines()
    assert [json.loads(line)["action"] for line in lines[:-1]] == ["new", "audit.prune"]
    [found] = verify_export([log.key], iter(lines))
    assert (found.events, found.valid) == (2, True)


async def test_the_command_verifies_anchors_and_exports_the_log(
    new_url: Callable[[], str], tmp_path: Path, capsys, alice: Principal
):
    url = new_url()
    (tmp_path / "secret").write_text(SECRET)
    where = ["--database", url, "--key-secret", str(tmp_path / "secret")]
    async with Database(url) as database:
        log = AuditLog(database, SECRET)
        for _ in range(3):
            await log.record(alice, "x")

        async def run(*arguments: str) -> int:
            return await asyncio.to_thread(program.main, arguments)

        assert await run("verify", *where) == 0
        assert "acme: 3 events, the last is 3, 0 problems" in capsys.readouterr().out
        assert await run("anchor", *where) == 0
        (tmp_path / "anchors").write_text(capsys.readouterr().out)
        assert await run("export", *where, str(tmp_path / "out.jsonl")) == 0
        offline = ["--key-secret", str(tmp_path / "secret"), "--file", str(tmp_path / "out.jsonl")]
        assert await run("verify", *offline, "--anchors", str(tmp_path / "anchors")) == 0
        await change(database, "DELETE FROM audit WHERE seq = 3")
        assert await run("verify", *where) == 0
        assert await run("verify", *where, "--anchors", str(tmp_path / "anchors")) == 1
        assert await run("verify", *where, "--anchors", str(tmp_path / "out.jsonl")) == 1
        (tmp_path / "other").write_text("t" * 40)
        capsys.readouterr()
        other = [*offline[2:], "--key-secret", str(tmp_path / "other")]
        assert await run("verify", *other) == 2
        assert "4 cannot be checked with the given keys" in capsys.readouterr().out
        assert await run("verify", *other, "--previous-key", str(tmp_path / "secret")) == 0
        assert await run("export", *where, str(tmp_path / "out.jsonl")) == 2  # it is there
        assert await run("verify", "--key-secret", str(tmp_path / "secret"), "--file", str(tmp_path / "secret")) == 2
        assert "line 1 is not a JSON object" in capsys.readouterr().err
