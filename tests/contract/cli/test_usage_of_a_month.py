"""`headrace usage --forecast` and `--invoice` against a gateway whose counters are known."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from click.testing import CliRunner, Result

from serving.cli.__main__ import headrace
from serving.cli.usage import invoice
from serving.store.usage import Used, Whose
from tests.contract.running import Gateway

Run = Callable[..., Result]

TODAY = date(2026, 5, 20)


@pytest.fixture
def run(up: Gateway, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `headrace usage` at midnight of `TODAY`; it must end with `status`."""

    def run(*arguments: str, key: str = up.key, status: int = 0, today: date = TODAY) -> Result:
        midnight = datetime(today.year, today.month, today.day, tzinfo=UTC)
        monkeypatch.setattr("serving.cli.usage.commands.now", midnight.timestamp)
        environment = {"HEADRACE_URL": up.url, "HEADRACE_API_KEY": key}
        result = CliRunner(env=environment).invoke(headrace, ["usage", *arguments])
        assert result.exit_code == status, result.output
        return result

    return run


@pytest.fixture(scope="module")
def tenants(up: Gateway) -> None:
    with up.client("/v1") as http:
        for tenant in ("payers", "planners"):
            assert http.post("/admin/tenants", json={"id": tenant}).status_code == 200
    add(
        up,
        counted("payers", "2026-05-01", "ada", "key_a", "large", Used(2, 1000, 500, 1)),
        counted("payers", "2026-05-19", "ada", "key_b", "large", Used(1, 10, 5, 7_500_000_000)),
        counted("payers", "2026-05-19", "ada", "key_a", "small", Used(1, 3, 4)),
        counted("payers", "2026-05-19", "=HYPERLINK(0)", "key_c", "large", Used(1, 1, 1, 100)),
        counted("payers", "2026-05-20", "ada", "key_a", "large", Used(9, 9, 9, 9)),  # today
        counted("payers", "2026-04-30", "ada", "key_a", "large", Used(8, 8, 8, 8)),
    )
    days = [(TODAY - timedelta(days=back)).isoformat() for back in range(1, 58)]
    add(
        up,
        *(counted("planners", day, "ada", "key_a", "large", Used(10, 60, 40, 2_500_000_000)) for day in days),
        *(counted("planners", day, "ada", "key_a", "young", Used(1, 1, 0)) for day in days[:4]),
    )


def counted(tenant: str, day: str, user: str, key: str, model: str, used: Used) -> tuple[Whose, Used]:
    return Whose(tenant, day, user, key, model, "EUR" if used.cost else ""), used


def add(up: Gateway, *each: tuple[Whose, Used]) -> None:
    up.loop.do(up.services.usage.add(each))


def rows(result: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(result.stdout, newline="")))


def of_the_api(up: Gateway, **query: str) -> list[dict[str, Any]]:
    with up.client("/v1") as http:
        found: list[dict[str, Any]] = http.get("/admin/usage", params=query).raise_for_status().json()["data"]
        return found


@pytest.mark.usefixtures("tenants")
def test_usage_of_one_model_is_selected(up: Gateway, run: Run) -> None:
    days = {"tenant": "payers", "start": "2026-05-01", "end": "2026-05-31"}
    by_user = of_the_api(up, **days, by="user", model="large")
    assert [(row["id"], row["requests"]) for row in by_user] == [("=HYPERLINK(0)", 1), ("ada", 12)]
    assert [row["id"] for row in of_the_api(up, **days, by="day", model="small", user="ada")] == ["2026-05-19"]
    assert of_the_api(up, **days, model="none") == []
    shown = run("--start", "2026-05-01", "--end", "2026-05-31", "--model", "small", "--tenant", "payers").stdout
    assert shown.splitlines()[1].split()[:2] == ["2026-05-19", "1"]
    with up.client("/v1") as http:
        assert http.get("/usage", params={"model": "none"}).json()["data"] == []
        assert http.get("/admin/usage", params={"model": "m" * 257}).json()["error"]["param"] == "model"


@pytest.mark.usefixtures("tenants")
def test_an_invoice_adds_up_to_what_the_api_says(up: Gateway, run: Run) -> None:
    result = run("--invoice", "2026-05", "--tenant", "payers")
    found = rows(result)
    assert [(row["user"], row["model"], row["requests"], row["cost"], row["currency"]) for row in found] == [
        ("'=HYPERLINK(0)", "large", "1", "0.0000001", "EUR"),
        ("ada", "large", "3", "7.500000001", "EUR"),
        ("ada", "small", "1", "", ""),
    ]
    assert {(row["tenant"], row["start"], row["end"]) for row in found} == {("payers", "2026-05-01", "2026-05-19")}
    by_key = rows(run("--invoice", "2026-05", "--tenant", "payers", "--by", "key"))
    assert [(row["key"], row["model"], row["requests"]) for row in by_key] == [
        ("key_a", "large", "2"),
        ("key_a", "small", "1"),
        ("key_b", "large", "1"),
        ("key_c", "large", "1"),
    ]
    api = of_the_api(up, tenant="payers", start="2026-05-01", end="2026-05-19", by="model")
    for lines in (found, by_key):
        for name in ("requests", "prompt_tokens", "completion_tokens"):
            assert sum(int(line[name]) for line in lines) == sum(row[name] for row in api)
        assert sum(Decimal(line["cost"] or 0) for line in lines) == sum(
            Decimal(cost["amount"]) for row in api for cost in row["cost"]
        )
    assert result.stderr == "2026-05 is not over: the invoice ends with 2026-05-19.\nTotal: 7.500000101 EUR\n"


@pytest.mark.usefixtures("tenants")
def test_an_invoice_of_a_month_that_is_over_is_whole(run: Run) -> None:
    result = run("--invoice", "2026-05", "--tenant", "payers", today=date(2026, 6, 1))
    assert sum(int(row["requests"]) for row in rows(result)) == 14
    assert {row["end"] for row in rows(result)} == {"2026-05-31"}
    assert "not over" not in result.stderr
    nothing = run("--invoice", "2026-03", "--tenant", "payers")
    assert (rows(nothing), nothing.stderr) == ([], "Total: no cost\n")
    for month, today in (("2026-05", date(2026, 5, 1)), ("2026-06", TODAY)):
        assert "is over yet" in run("--invoice", month, status=2, today=today).stderr


@pytest.mark.usefixtures("tenants")
def test_an_invoice_of_all_tenants_is_for_the_stacks_own_key(up: Gateway, run: Run) -> None:
    found = rows(run("--invoice", "2026-05", "--all-tenants"))
    assert sorted({row["tenant"] for row in found}) == ["payers", "planners"]
    assert found == sorted(found, key=lambda row: (row["tenant"], row["user"], row["model"]))
    key = of_an_operator(up, "planners")
    assert {row["tenant"] for row in rows(run("--invoice", "2026-05", key=key))} == {"planners"}
    assert "(403)" in run("--invoice", "2026-05", "--all-tenants", key=key, status=1).stderr
    assert "(404, tenant)" in run("--invoice", "2026-05", "--tenant", "payers", key=key, status=1).stderr


def of_an_operator(up: Gateway, tenant: str) -> str:
    with up.client("/v1") as http:
        http.post("/admin/users", params={"tenant": tenant}, json={"id": "operator", "role": "operator"})
        made = http.post("/admin/keys", params={"tenant": tenant}, json={"user": "operator"}).raise_for_status()
        key: str = made.json()["key"]
        return key


@pytest.mark.usefixtures("tenants")
@pytest.mark.parametrize("changes", [1, invoice.ATTEMPTS])
def test_an_invoice_has_no_usage_that_came_while_it_was_read(
    up: Gateway, run: Run, monkeypatch: pytest.MonkeyPatch, changes: int
) -> None:
    """It is read again, and not printed if it never adds up."""
    tenant = f"late-{changes}"
    with up.client("/v1") as http:
        assert http.post("/admin/tenants", json={"id": tenant}).status_code == 200
    add(up, counted(tenant, "2026-05-02", "ada", "key_a", "large", Used(1, 1, 1, 1)))
    left, read = [changes], invoice.usage_rows

    def changing(stack: Any, tenant: str, start: date, end: date, by: str, model: str | None = None) -> Any:
        if model is not None and left[0] > 0:
            left[0] -= 1
            add(up, counted(tenant, "2026-05-19", "bob", "key_b", "large", Used(1, 1, 1, 1)))
        return read(stack, tenant, start, end, by, model)

    monkeypatch.setattr(invoice, "usage_rows", changing)
    if changes < invoice.ATTEMPTS:
        assert [row["user"] for row in rows(run("--invoice", "2026-05", "--tenant", tenant))] == ["ada", "bob"]
    else:
        result = run("--invoice", "2026-05", "--tenant", tenant, status=1)
        assert (result.stdout, "changes while it is read" in result.stderr) == ("", True)


def test_an_invoice_of_more_users_than_a_page_has_them_all(up: Gateway, run: Run) -> None:
    names = [f"cn={'u' * 80}{number:03}" for number in range(101)]
    with up.client("/v1") as http:
        http.post("/admin/tenants", json={"id": "many"}).raise_for_status()
    add(up, *(counted("many", "2026-05-02", name, "key", "large", Used(1, 1, 1, 1)) for name in names))
    assert [row["user"] for row in rows(run("--invoice", "2026-05", "--tenant", "many"))] == names


def set_quotas(up: Gateway, *quotas: dict[str, Any]) -> None:
    with up.client("/v1") as http:
        http.put("/admin/quotas", params={"tenant": "planners"}, json={"quotas": list(quotas)}).raise_for_status()


@pytest.mark.usefixtures("tenants")
def test_a_month_is_forecast_with_its_budgets(up: Gateway, run: Run) -> None:
    tenant = {"subject": "tenant", "id": "planners", "window": "month"}
    set_quotas(
        up,
        {**tenant, "measure": "money", "limit": "24", "currency": "EUR"},  # 2.5 a day from today on
        {**tenant, "measure": "tokens", "limit": 5000},
        {**tenant, "measure": "requests", "limit": 1, "window": "day"},  # of no month
        {**tenant, "measure": "money", "limit": "1", "currency": "USD"},
        {"subject": "model", "id": "large", "window": "month", "measure": "requests", "limit": 0},
        {"subject": "model", "id": "unused", "window": "month", "measure": "requests", "limit": 7},
    )
    result = json.loads(run("--forecast", "--tenant", "planners", "--json").stdout)
    found = {(row["model"], row["measure"], row["currency"]): row for row in result["data"]}
    assert list(found) == [
        *((None, *each) for each in (("requests", None), ("tokens", None), ("money", "EUR"), ("money", "USD"))),
        *(("large", *each) for each in (("requests", None), ("tokens", None), ("money", "EUR"))),
        *((model, measure, None) for model in ("unused", "young") for measure in ("requests", "tokens")),
    ]
    money = found[None, "money", "EUR"]
    assert (money["so_far"], money["budget"], money["budget_used"]) == ("47.5", "24", "0")
    assert money["used_up_on"] == "2026-05-29"
    assert float(money["low"]) <= float(money["forecast"]) <= float(money["high"])
    assert float(money["forecast"]) == pytest.approx(31 * 2.5, rel=0.02)
    tokens = found[None, "tokens", None]
    assert (tokens["so_far"], tokens["budget"], tokens["used_up_on"]) == (1904, 5000, None)
    assert tokens["forecast"] == pytest.approx(31 * 100, rel=0.02)
    large = found["large", "requests", None]
    assert (large["so_far"], large["used_up_on"], large["note"]) == (190, "2026-05-20", "the budget is used up")
    young = found["young", "requests", None]
    assert (young["so_far"], young["forecast"], young["low"]) == (4, None, None)
    assert young["note"] == "3 of 14 complete days since the first usage"
    unused = found["unused", "requests", None]
    assert (unused["so_far"], unused["budget"], unused["note"]) == (0, 7, "no usage before today")
    shown = run("--forecast", "--tenant", "planners").stdout.splitlines()
    assert shown[0].split()[:4] == ["TENANT", "MODEL", "MEASURE", "CURRENCY"]
    assert len(shown) == 1 + len(found)


@pytest.mark.usefixtures("tenants")
def test_a_forecast_without_the_scope_admin_says_that_it_knows_no_quotas(up: Gateway, run: Run) -> None:
    result = run("--forecast", "--json", key=of_an_operator(up, "planners"))
    found = json.loads(result.stdout)["data"]
    assert "Quotas are left out" in result.stderr
    assert {row["tenant"] for row in found} == {"planners"}
    assert {row["budget"] for row in found} == {None}
    everybody = json.loads(run("--forecast", "--all-tenants", "--json").stdout)["data"]
    assert {"payers", "planners", "default"} <= {row["tenant"] for row in everybody}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--forecast", "--invoice", "2026-05"),
        ("--forecast", "--by", "model"),
        ("--forecast", "--mine"),
        ("--forecast", "--user", "ada"),
        ("--forecast", "--start", "2026-05-01"),
        ("--forecast", "--all-tenants", "--tenant", "payers"),
        ("--invoice", "2026-05", "--by", "day"),
        ("--invoice", "2026-05", "--json"),
        ("--invoice", "2026-05", "--model", "large"),
        ("--invoice", "2026-13"),
        ("--invoice", "may"),
        ("--all-tenants",),
    ],
)
def test_what_does_not_go_together_is_refused(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments, status=2)
    assert result.stderr.startswith("Usage: ")
    assert result.stdout == ""
