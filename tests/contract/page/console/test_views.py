"""Each view shows what the API answers, with at most three requests, and axe finds nothing in it and its dialogs."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.contract.page.console.operated import HOSTILE, Operated, settled
from tests.contract.page.test_accessibility import clean, texts
from tests.contract.page.world import Shown

MOST_REQUESTS = 3
PAGE = 25

LISTS: dict[str, tuple[str, ...]] = {
    "tenants": ("/v1/admin/tenants", "id"),
    "users": ("/v1/admin/users", "id"),
    "keys": ("/v1/admin/keys", "id"),
    "quotas": ("/v1/admin/quotas", "id"),
    "webhooks": ("/v1/admin/webhooks", "url"),
    "audit": ("/v1/admin/audit", "action"),
    "erasures": ("/v1/admin/erasures", "user", "subject"),
    "usage": ("/v1/admin/usage", "id"),
    "jobs": ("/v1/admin/jobs", "id"),
    "stores": ("/v1/vector_stores", "name"),
    "files": ("/v1/files", "filename"),
    "versions": ("/v1/hub/versions", "id"),
    "releases": ("/v1/hub/releases", "target"),
    "evaluations": ("/v1/hub/evaluations", "suite"),
    "ratings": ("/v1/admin/feedback/summary", "id"),
    "exports": ("/v1/hub/datasets", "id"),
}
"""The path of each list, and the field that stands in its rows; another one where a row lacks that."""

OTHERS = ("overview", "models", "captures", "tuning", "configuration")


def rows(shown: Shown) -> list[str]:
    found: list[str] = shown.page.evaluate("[...document.querySelectorAll('tbody tr')].map((one) => one.innerText)")
    return found


def requests(shown: Shown, operated: Operated) -> list[str]:
    """Returns the paths of the API that the page asked for; nothing else than this origin may be asked."""
    shown.page.settle()
    assert all(url.startswith((operated.up.url, "data:")) for url in shown.page.requests), shown.page.requests
    return [urlsplit(url).path for url in shown.page.requests if urlsplit(url).path.startswith("/v1/")]


@pytest.mark.parametrize("view", LISTS)
def test_a_list_has_the_rows_of_the_api(operated: Operated, view: str) -> None:
    path, *fields = LISTS[view]
    with operated.page(f"/admin/{view}") as shown:
        settled(shown)
        asked = requests(shown, operated)
        shown_rows = rows(shown)
        query = {}
        if view == "ratings":  # the API begins with the month, the view 30 days ago
            query["start"] = shown.page.evaluate("document.querySelector('[name=start]').value")
        known: list[dict[str, Any]] = operated.get(path, limit=PAGE + 1, **query)["data"]
        # Each reading adds an event to the audit log.
        known = known[1 : len(shown_rows) + 1] if view == "audit" else known[:PAGE]
        assert known, "there is something to show"
        expected = [next(str(row[field]) for field in fields if row[field]) for row in known]
        assert [word in text for word, text in zip(expected, shown_rows, strict=True)] == [True] * len(known), (
            shown_rows
        )
        assert 1 <= len(asked) <= MOST_REQUESTS
        assert path in asked
        shown.page.settle()
        assert shown.page.complaints == []


@pytest.mark.parametrize("view", OTHERS)
def test_a_view_asks_for_little(operated: Operated, view: str) -> None:
    with operated.page(f"/admin/{view}") as shown:
        settled(shown)
        # The overview asks for the firing alerts too.
        assert 1 <= len(requests(shown, operated)) <= MOST_REQUESTS + (view == "overview")


AT_ONCE = ("enable", "serve", "pause", "resume")
"""Acts that open no dialog."""
ACTED_ON = ("audit", "keys", "stores", "tenants")
"""Views with an act that opens a dialog."""


def dialogs(language: str) -> str:
    """JavaScript of the first button of each act that opens a dialog."""
    at_once = [texts(language, "console")[name] for name in AT_ONCE]
    return f"""[...new Map(
      [...document.querySelectorAll("main .make button, main td.acts button")]
        .filter((one) => !{json.dumps(at_once)}.includes(one.textContent)).map((one) => [one.textContent, one]),
    ).values()]"""


@pytest.mark.parametrize("language", ["en", pytest.param("ar", marks=pytest.mark.full)])
@pytest.mark.parametrize("view", [*LISTS, *OTHERS])
def test_axe_finds_nothing_in_a_view_and_its_dialogs(operated: Operated, axe: str, view: str, language: str) -> None:
    """`clean` looks at both colours."""
    with operated.page(f"/admin/{view}", language=language) as shown:
        settled(shown)
        for width in (1280, 360):
            shown.page.size(width, 900)
            clean(shown, axe)
        buttons = dialogs(language)
        count = shown.page.evaluate(f"{buttons}.length")
        assert count > 0 or view not in ACTED_ON
        for number in range(count):
            shown.page.evaluate(f"{buttons}[{number}].click()")
            shown.there("dialog[open] h2")
            shown.page.until("!document.querySelector('dialog [role=status]:not(.verified), dialog [aria-busy=true]')")
            for width in (1280, 360):
                shown.page.size(width, 900)
                clean(shown, axe)
            shown.page.evaluate("document.querySelector('dialog[open]').close()")
            shown.gone("dialog[open]")


BROKEN = """[...document.querySelectorAll("td.acts button, td .state, td .code")].filter((one) =>
  !one.matches(".code") || one.textContent.split(/\\s+/).every((word) => word.length <= 20)).filter((one) => {
  const range = document.createRange();
  range.selectNodeContents(one);
  const lines = new Set([...range.getClientRects()].map(({ top }) => Math.round(top)));
  return lines.size > one.textContent.trim().split(/\\s+|(?<=-)/).length;
}).map((one) => one.textContent)"""
"""Buttons, states and words of the API, but for long ids, of more lines than words."""


@pytest.mark.parametrize("view", LISTS)
def test_no_word_is_broken(operated: Operated, view: str) -> None:
    with operated.page(f"/admin/{view}") as shown:
        settled(shown)
        for width in (1280, 900, 360):
            shown.page.size(width, 900)
            assert shown.page.evaluate(BROKEN) == [], width


def test_a_job_says_which_file_it_is_about_and_in_which_store(operated: Operated) -> None:
    with operated.page("/admin/jobs?kind=ingest_file") as shown:
        settled(shown)
        assert any("sea.txt" in row and "Sea charts" in row for row in rows(shown)), rows(shown)


def test_text_of_others_is_text(operated: Operated) -> None:
    with operated.page("/admin/tenants") as shown:
        settled(shown)
        assert HOSTILE in "".join(rows(shown))
        assert shown.count("main img") == 0


def test_whoever_operates_nothing_reads_a_plain_line(operated: Operated) -> None:
    with operated.page("/admin/keys", key=operated.key("tom")) as shown:
        shown.there("main", "You have no rights to operate this stack.")
        assert requests(shown, operated) == []
        assert shown.count("nav") == 0


def test_views_are_those_of_the_scopes(operated: Operated) -> None:
    with operated.page("/admin", key=operated.key("rita", "hub:read", role="operator")) as shown:
        shown.there("h1", "Releases")
        links = shown.page.evaluate("[...document.querySelectorAll('nav li a')].map((one) => one.pathname)")
        hub = ("releases", "evaluations", "versions", "tuning", "exports")
        assert links == [f"/admin/{name}" for name in hub]
    with operated.page("/admin/keys", key=operated.key("rita2", "hub:read", role="operator")) as shown:
        shown.there("main", "This view needs the scope admin")
        assert requests(shown, operated) == []


def test_an_unknown_view_says_so(operated: Operated) -> None:
    with operated.page("/admin/none") as shown:
        shown.there("h1", "There is no such view")


def test_an_error_of_the_api_is_shown_in_its_words(operated: Operated) -> None:
    with operated.page("/admin/usage?start=nonsense") as shown:
        shown.there("main .error", operated.http.get("/v1/admin/usage?start=nonsense").json()["error"]["message"])


def test_filters_and_pages_are_those_of_the_api(operated: Operated) -> None:
    for number in range(60):
        operated.http.post("/v1/admin/tenants", json={"id": f"many-{number:02}"})
    with operated.page("/admin/tenants?q=many-") as shown:
        settled(shown)
        seen: list[str] = []
        for page in range(3):
            shown.there(".pages span", f"Page {page + 1}")
            settled(shown)
            seen += [text.split()[0] for text in rows(shown)]
            if page < 2:
                shown.click(".pages button:last-child")
        listed = operated.get("/v1/admin/tenants", q="many-", limit=100)["data"]
        assert seen == [tenant["id"] for tenant in listed]
        shown.page.evaluate("document.querySelector('.filters input').select()")
        shown.write("many-07")
        shown.enter()
        shown.page.until("document.querySelectorAll('tbody tr').length === 1")
        assert shown.page.evaluate("location.search") == "?q=many-07"
        shown.page.evaluate("history.back()")
        shown.page.until("document.querySelectorAll('tbody tr').length === 25")
        assert shown.page.evaluate("document.querySelector('.filters input').value") == "many-"


def test_an_empty_list_says_what_to_do(operated: Operated) -> None:
    with operated.page("/admin/keys?q=no+such+key") as shown:
        shown.there("main .hint", "There is none. Clear the filters to see all.")


def test_another_tenant_is_looked_into(operated: Operated) -> None:
    operated.http.post("/v1/admin/users", params={"tenant": "acme"}, json={"id": "zoe"}).raise_for_status()
    with operated.page("/admin/tenants?q=acme") as shown:
        shown.click("[aria-label^='Look into']")
        shown.there("main .note-of-tenant", "acme")
        shown.there("tbody", "zoe")
        assert len(rows(shown)) == 1
        shown.click("nav a[href='/admin/keys?tenant=acme']")
        shown.there("main .hint", "There is none. Press “Make a key” for the first one.")
        shown.click(".note-of-tenant a")
        shown.there("tbody", "hers")
