"""The API reference at /docs in a browser: it draws every route, calls them with a key, and asks no other host."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.contract.page.test_accessibility import clean
from tests.contract.page.world import Shown, World

REQUESTS = "performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin)"
LIST = "#models_list_all"


@pytest.fixture
def shown(world: World) -> Iterator[Shown]:
    with world.browser.page(1280, 900, "light") as page:
        page.open(f"{world.up.url}/docs")
        shown = Shown(page)
        shown.there("h1", "Headrace API")
        yield shown
        page.settle()
        assert [each for each in page.complaints if "401" not in each] == []
        assert [url for url in page.requests if not url.startswith((world.up.url, "data:image/svg"))] == []


def fill(shown: Shown, selector: str, value: str) -> None:
    shown.page.evaluate(f"""(() => {{
      const field = document.querySelector({json.dumps(selector)});
      field.value = {json.dumps(value)};
      field.dispatchEvent(new Event("input", {{ bubbles: true }}));
    }})()""")


def test_it_shows_every_route_and_asks_no_other_host(world: World, shown: Shown) -> None:
    paths = world.http.get("/openapi.json").json()["paths"]
    routes = [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]
    drawn = "[...document.querySelectorAll('main section > details > summary')].map((one) => "
    drawn += "one.querySelector('b').textContent + ' ' + one.querySelector('code').textContent)"
    assert sorted(shown.page.evaluate(drawn)) == sorted(routes)
    assert set(shown.page.evaluate(REQUESTS)) == {world.up.url}
    fill(shown, "#find", "post webhooks")
    shown.page.until("document.querySelectorAll('main section:not([hidden]) > details:not([hidden])').length < 10")
    assert shown.count("main section:not([hidden]) > details:not([hidden])") > 0


def test_a_route_is_called_with_the_key_that_is_given(world: World, shown: Shown) -> None:
    shown.click(f"{LIST} > summary")
    shown.click(f"{LIST} button[type=submit]")
    shown.there(f"{LIST} [role=status]", "401")
    fill(shown, "#key", world.http.headers["authorization"].removeprefix("Bearer "))
    shown.click(f"{LIST} button[type=submit]")
    shown.there(f"{LIST} [role=status]", "200")
    assert json.loads(shown.text(f"{LIST} .answer")) == world.http.get("/v1/models").json()
    assert set(shown.page.evaluate(REQUESTS)) == {world.up.url}
    assert shown.page.evaluate("localStorage.length + sessionStorage.length") == 0


def test_a_body_and_a_path_are_sent_as_they_are_filled_in(world: World, shown: Shown) -> None:
    fill(shown, "#key", world.http.headers["authorization"].removeprefix("Bearer "))
    shown.click("#conversations_create > summary")
    fill(shown, "#conversations_create textarea", json.dumps({"metadata": {"from": "docs"}}))
    shown.click("#conversations_create button[type=submit]")
    shown.there("#conversations_create [role=status]", "200")
    made = json.loads(shown.text("#conversations_create .answer"))
    assert made["metadata"] == {"from": "docs"}
    shown.click("#conversations_get > summary")
    fill(shown, "#conversations_get input", made["id"])
    shown.click("#conversations_get button[type=submit]")
    shown.there("#conversations_get .answer", made["id"])
    shown.there("#conversations_get [role=status]", "200")


def test_fields_of_a_query_are_sent_as_the_document_says(world: World, shown: Shown) -> None:
    fill(shown, "#key", world.http.headers["authorization"].removeprefix("Bearer "))
    shown.click("#stored_completions_list_page > summary")
    fill(shown, "#stored_completions_list_page input[name='query:metadata']", "{")
    shown.click("#stored_completions_list_page button[type=submit]")
    shown.there("#stored_completions_list_page [role=status]", "Not sent")
    fill(shown, "#stored_completions_list_page input[name='query:metadata']", '{"from": "docs", "n": 1}')
    shown.click("#stored_completions_list_page button[type=submit]")
    shown.there("#stored_completions_list_page [role=status]", "200")
    sent = shown.page.evaluate("performance.getEntriesByType('resource').at(-1).name")
    assert sent.endswith("/v1/chat/completions?metadata%5Bfrom%5D=docs&metadata%5Bn%5D=1")


def test_an_answer_stays_while_somebody_looks_for_another_route(world: World, shown: Shown) -> None:
    shown.click(f"{LIST} > summary")
    shown.click(f"{LIST} button[type=submit]")
    shown.there(f"{LIST} [role=status]", "401")
    shown.click(f"{LIST} > summary")
    fill(shown, "#find", "post webhooks")
    shown.page.until(f"document.querySelector({json.dumps(LIST)}).hidden")
    fill(shown, "#find", "")
    shown.page.until(f"!document.querySelector({json.dumps(LIST)}).hidden")
    assert "401" in shown.page.evaluate(f"document.querySelector({json.dumps(LIST + ' [role=status]')}).textContent")


@pytest.mark.parametrize("width", [360, 1280])
def test_it_is_accessible(world: World, axe: str, width: int) -> None:
    with world.browser.page(width, 800) as page:
        page.open(f"{world.up.url}/docs#files_create")
        shown = Shown(page)
        shown.there("#files_create form")
        shown.click("#chat_create > summary")
        shown.click("#chat_create button[type=submit]")
        shown.there("#chat_create [role=status]", "401")
        shown.click("#chat_create .operation details > summary")
        clean(shown, axe)
