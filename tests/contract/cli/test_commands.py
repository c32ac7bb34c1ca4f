"""The commands against a gateway, and against a server that answers what no gateway would."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from serving.cli.__main__ import headrace
from serving.cli.output import MAX_CELL, cell, table
from tests.contract.running import Gateway, Loop, engine

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def run(up: Gateway) -> Run:
    """Runs a command with the stack's own key, or another; it must end with `status`."""

    def run(*arguments: str, key: str = up.key, status: int = 0, input: str | None = None) -> Result:
        environment = {"HEADRACE_URL": up.url, "HEADRACE_API_KEY": key}
        result = CliRunner(env=environment).invoke(headrace, list(arguments), input=input)
        assert result.exit_code == status, result.output
        assert up.key not in result.output
        return result

    return run


def test_one_key_suffices_to_set_up_a_tenant_with_users_and_keys(run: Run) -> None:
    assert "default" in run("whoami").stdout
    made = json.loads(run("tenants", "create", "birds", "--name", "The Birds", "--json").stdout)
    assert (made["id"], made["name"], made["disabled"]) == ("birds", "The Birds", False)
    assert "birds" in run("tenants", "list").stdout
    of = ("--tenant", "birds")
    run("users", "create", "ada@example.com", "--role", "admin", "--group", "g1", "--group", "g2", *of)
    assert "g1,g2" in run("users", "get", "ada@example.com", *of).stdout
    result = run("keys", "create", "--user", "ada@example.com", "--name", "laptop", "--expires-in", "90d", *of)
    [ada] = result.stdout.split()
    assert ada.startswith("hr_")
    assert "shown only once" in result.stderr

    # From here on the tenant's admin goes on alone.
    me = json.loads(run("whoami", "--json", key=ada).stdout)
    assert (me["tenant"], me["role"]) == ("birds", "admin")
    run("users", "create", "bob", key=ada)
    bobs = json.loads(run("keys", "create", "--user", "bob", "--scope", "inference", "--json", key=ada).stdout)
    assert bobs["scopes"] == ["inference"]
    shown = run("keys", "list", "--user", "bob", key=ada).stdout
    assert bobs["id"] in shown
    assert bobs["key"] not in shown
    rotated = run("keys", "rotate", bobs["id"], "--overlap", "1h", key=ada)
    assert "permits nothing until bob runs" in rotated.stderr
    new = rotated.stdout.strip()
    assert json.loads(run("whoami", "--json", key=new).stdout)["scopes"] == []
    assert json.loads(run("keys", "get", bobs["id"], "--json", key=ada).stdout)["rotated_to"]
    own = run("keys", "replace", key=new).stdout.strip()
    me = json.loads(run("whoami", "--json", key=own).stdout)
    assert (me["id"], me["scopes"]) == ("bob", ["inference"])
    further = json.loads(run("keys", "create", "--user", "bob", "--scope", "inference", "--json", key=ada).stdout)
    assert run("keys", "own", key=own).stdout.count("bob") == 4
    assert json.loads(run("keys", "confirm", further["id"], "--yes", "--json", key=own).stdout)["confirmed"]
    assert json.loads(run("whoami", "--json", key=further["key"]).stdout)["scopes"] == ["inference"]
    final = run("keys", "replace", further["id"], "--overlap", "1h", key=own).stdout.strip()
    assert json.loads(run("whoami", "--json", key=final).stdout)["id"] == "bob"
    run("users", "update", "bob", "--role", "operator", "--no-groups", key=ada)
    run("users", "disable", "bob", "--yes", key=ada)
    assert json.loads(run("users", "get", "bob", "--json", key=ada).stdout)["disabled"]
    run("users", "enable", "bob", key=ada)
    run("tenants", "rename", "birds", "Birds")
    run("tenants", "disable", "birds", "--yes")
    assert json.loads(run("tenants", "get", "birds", "--json").stdout)["disabled"]
    run("tenants", "enable", "birds")


def test_api_errors_are_printed_in_one_line(run: Run) -> None:
    for arguments, said in (
        (("tenants", "get", "nowhere"), "There is no such tenant. (404)"),
        (("users", "list", "--tenant", "nowhere"), "There is no such tenant. (404, tenant)"),
        (("tenants", "create", "Birds"), "(400, id)"),
        (("tenants", "create", "default"), "(409)"),
        (("keys", "create", "--user", "nobody"), "There is no such user. (404, user)"),
    ):
        result = run(*arguments, status=1)
        assert said in result.stderr
        assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert "not valid (401)" in run("whoami", key="hr_wrong", status=1).stderr


def test_destructive_commands_ask_for_confirmation(run: Run) -> None:
    run("tenants", "create", "asked")
    run("tenants", "disable", "asked", input="n\n", status=1)
    assert not json.loads(run("tenants", "get", "asked", "--json").stdout)["disabled"]
    run("tenants", "disable", "asked", status=1)  # nobody there to ask
    run("tenants", "disable", "asked", input="y\n")
    assert json.loads(run("tenants", "get", "asked", "--json").stdout)["disabled"]


def test_quotas_are_set_shown_and_removed(run: Run) -> None:
    run("tenants", "create", "spenders")
    of = ("--tenant", "spenders")
    run("quotas", "set", "user", "ada", "month", "money", "25.50", "--currency", "EUR", *of)
    run("quotas", "set", "tenant", "spenders", "day", "tokens", "1000", *of)
    run("quotas", "set", "model", "m", "concurrent", "streams", "2", *of)
    listed = json.loads(run("quotas", "list", "--json", *of).stdout)["data"]
    assert {(q["subject"], q["id"], q["window"], q["measure"], q["limit"], q["currency"]) for q in listed} == {
        ("user", "ada", "month", "money", "25.5", "EUR"),
        ("tenant", "spenders", "day", "tokens", 1000, None),
        ("model", "m", "concurrent", "streams", 2, None),
    }
    [ada] = json.loads(run("quotas", "list", "--subject", "user", "--id", "ada", "--json", *of).stdout)["data"]
    assert "25.5" in run("quotas", "list", "--subject", "user", *of).stdout
    run("quotas", "delete", ada["quota_id"], input="n\n", status=1)
    run("quotas", "delete", ada["quota_id"], status=1, input="y\n")  # it is of another tenant than the key's
    run("quotas", "delete", ada["quota_id"], "--yes", *of)
    assert json.loads(run("quotas", "list", "--subject", "user", "--json", *of).stdout)["data"] == []
    assert json.loads(run("quotas", "list", "--json").stdout)["data"] == []
    assert "(400" in run("quotas", "set", "user", "ada", "month", "money", "1", status=1).stderr  # of no currency


def test_usage_is_shown_by_day_with_permission(run: Run) -> None:
    for arguments in ((), ("--mine",), ("--by", "user"), ("--mine", "--by", "model"), ("--user", "ada")):
        assert run("usage", *arguments).stdout.split()[:3] == ["ID", "REQUESTS", "PROMPT_TOKENS"]
    run("usage", "--start", "2026-01-01", "--end", "2026-01-31")
    assert "(400, start)" in run("usage", "--start", "2020-01-01", "--end", "2026-01-31", status=1).stderr
    run("usage", "--start", "yesterday", status=2)
    run("usage", "--mine", "--user", "ada", status=2)
    key = run("keys", "create", "--user", "admin", "--scope", "inference").stdout.strip()
    run("usage", "--mine", key=key)
    assert "(403)" in run("usage", key=key, status=1).stderr


def test_a_user_is_forgotten_and_that_is_on_record(run: Run) -> None:
    counted = json.loads(run("forget", "user", "cleo", "--dry-run", "--json").stdout)
    assert (counted["user"], counted["dry_run"]) == ("cleo", True)
    run("forget", "user", "cleo", input="n\n", status=1)
    begun = json.loads(run("forget", "user", "cleo", "--yes", "--json").stdout)
    assert (begun["status"], begun["dry_run"]) == ("queued", False)
    assert begun["id"] in run("forget", "status", begun["id"]).stdout
    assert {e["id"] for e in json.loads(run("forget", "list", "--json").stdout)["data"]} == {counted["id"], begun["id"]}
    assert "(404)" in run("forget", "status", "job_none", status=1).stderr
    events = json.loads(run("audit", "list", "--action", "erasure.create", "--json").stdout)["data"]
    assert [e["target"] for e in events] == [begun["id"], counted["id"]]
    shown = run("audit", "list").stdout
    assert begun["id"] in shown
    assert "cleo" not in shown
    assert run("audit", "verify").stdout.splitlines()[1].startswith("yes")


@pytest.mark.parametrize("listing", ["quotas", "users", "keys", "forget", "audit"])
def test_a_list_of_several_pages_is_whole(run: Run, monkeypatch: pytest.MonkeyPatch, listing: str) -> None:
    run("tenants", "create", f"paged-{listing}")
    of: tuple[str, ...] = ("--tenant", f"paged-{listing}")
    for n in range(3):
        run("users", "create", f"u{n}", *of)
        run("keys", "create", "--user", f"u{n}", *of)
        run("quotas", "set", "user", f"u{n}", "day", "requests", "5", *of)
        run("forget", "user", f"u{n}", "--dry-run", *of)
    if listing == "audit":
        of = ()  # what the stack's own key did is on record in its own tenant
    whole = json.loads(run(listing, "list", "--limit", "1000", "--json", *of).stdout)["data"]
    monkeypatch.setattr("serving.cli.client.PAGE", 2)
    paged = json.loads(run(listing, "list", "--limit", "1000", "--json", *of).stdout)["data"]
    assert len(whole) >= 3
    assert [one for one in paged if one in whole] == whole  # reading the record is on record


def test_long_lists_and_their_limit(run: Run) -> None:
    run("tenants", "create", "many")
    for n in range(3):
        run("users", "create", f"u{n}", "--tenant", "many")
    listed = run("users", "list", "--tenant", "many", "--limit", "2")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["ID", "u0", "u1"]
    assert "raise --limit" in listed.stderr
    assert "raise" not in run("users", "list", "--tenant", "many", "--limit", "3").stderr


def test_the_key_may_be_in_a_file(up: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{up.key}\n")
    environment = {"HEADRACE_URL": None, "HEADRACE_API_KEY": "hr_another"}
    result = CliRunner(env=environment).invoke(headrace, ["--url", f"{up.url}/v1/", "--key-file", str(file), "whoami"])
    assert result.exit_code == 0, result.output


class Recorder:
    """Answers what it was told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.answers: list[tuple[int, Any]] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        return app

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.asked.append((request.method, request.raw_path.partition("?")[0], dict(request.query), body))
        status, answer = self.answers.pop(0)
        if isinstance(answer, str):
            return web.Response(status=status, text=answer)
        return web.json_response(answer, status=status)


@pytest.fixture
def recorder() -> Iterator[tuple[Recorder, Run]]:
    made = Recorder()
    with Loop() as loop, engine(loop, made.app()) as port:
        environment = {"HEADRACE_URL": f"http://127.0.0.1:{port}", "HEADRACE_API_KEY": "k"}

        def run(*arguments: str, status: int = 0) -> Result:
            result = CliRunner(env=environment).invoke(headrace, list(arguments))
            assert result.exit_code == status, result.output
            return result

        yield made, run


def test_routes_missing_in_another_version_are_reported(recorder: tuple[Recorder, Run]) -> None:
    made, run = recorder
    made.answers = [(404, {"error": {"message": "There is no such route.", "code": "not_found", "param": None}})]
    said = run("quotas", "list", status=1).stderr
    assert said == "Error: This stack has no /v1/admin/quotas: its version is an older one.\n"


@pytest.mark.parametrize("id", ["a/b", "a?b", "a b", "%2e", "ä"])
def test_ids_are_escaped_in_paths(recorder: tuple[Recorder, Run], id: str) -> None:
    made, run = recorder
    made.answers = [(200, {"id": id})]
    run("forget", "status", id)
    assert [(method, unquote(path)) for method, path, *_ in made.asked] == [("GET", f"/v1/admin/erasures/{id}")]
    assert made.asked[0][1].count("/") == 4


def test_an_audit_log_that_was_changed_is_a_failure(recorder: tuple[Recorder, Run]) -> None:
    made, run = recorder
    made.answers = [(200, {"valid": False, "events": 3, "problems": [{"seq": 2, "message": "hash"}]})]
    assert "was changed" in run("audit", "verify", status=1).stderr
    made.answers = [(200, {"valid": False, "events": 3, "unchecked": 2, "problems": []})]
    assert "cannot be checked" in run("audit", "verify", status=1).stderr


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (200, "<html>", "without JSON"),
        (502, "", "answered 502"),
        (200, ["a"], "without JSON"),
        (500, {}, "refused (500)"),
        (400, {"error": "x"}, "refused (400)"),
        (400, {"error": {"message": "a\nb\x1b[2J" + "x" * 10_000, "param": "p\n"}}, "a b [2J"),
    ],
)
def test_answers_of_other_servers_are_reported(
    recorder: tuple[Recorder, Run], status: int, answer: Any, said: str
) -> None:
    made, run = recorder
    made.answers = [(status, answer)]
    result = run("whoami", status=1)
    assert said in result.stderr
    assert len(result.stderr) < 700
    assert (result.stderr.count("\n"), "\x1b" in result.stderr) == (1, False)


@pytest.mark.parametrize("data", [None, {}, ["a"], [None]])
def test_a_list_that_is_none(recorder: tuple[Recorder, Run], data: Any) -> None:
    made, run = recorder
    made.answers = [(200, {"object": "list", "data": data})]
    assert "did not return a list" in run("users", "list", status=1).stderr


def test_a_list_is_read_in_pages(recorder: tuple[Recorder, Run]) -> None:
    made, run = recorder
    pages = [[{"id": f"u{page}-{n}"} for n in range(size)] for page, size in enumerate((100, 100, 50))]
    made.answers = [(200, {"object": "list", "data": p, "last_id": p[-1]["id"], "has_more": True}) for p in pages]
    listed = json.loads(run("users", "list", "--limit", "250", "--json").stdout)
    assert listed["data"] == [user for page in pages for user in page]
    assert [(query["limit"], query.get("after")) for _, _, query, _ in made.asked] == [
        ("100", None),
        ("100", "u0-99"),
        ("50", "u1-99"),
    ]


VALUES = st.none() | st.booleans() | st.text() | st.integers() | st.floats() | st.lists(st.text())


@given(name=st.sampled_from(["id", "created_at"]), value=VALUES)
def test_table_cells_are_single_lines(name: str, value: Any) -> None:
    text = cell(name, value)
    assert text
    assert text.isprintable()
    assert len(text) <= MAX_CELL


@given(st.lists(st.lists(st.text(st.characters(categories=["L"]), min_size=1), min_size=2, max_size=2)))
def test_columns_stand_below_each_other(rows: list[list[str]]) -> None:
    lines = table(rows, ("a", "b"))
    start = lines[0].index("B")
    assert [line[start:] for line in lines[1:]] == [row[1] for row in rows]
