"""Stored prompts are put into the message box, by the keyboard alone, and by a button."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

import pytest

from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.page.test_accessibility import clean, layouts, texts
from tests.contract.page.world import Shown, World

BOX = "document.querySelector('#message')"
FIRST = "Name <b>three</b> facts about the sea."
GREETING = "Greet {{ name }} in {{language}}.\nBe polite to {{name}}."


@pytest.fixture
def writer(world: World) -> Iterator[World]:
    """Somebody in a tenant with two prompts, one of which has variables."""
    tenant = f"t{secrets.token_hex(4)}"
    key = world.up.loop.do(key_of(world.up.services, Principal(tenant, "writer", "")))
    own = World(world.up, world.engine, world.browser, key)
    for name, text in (("facts", f"{FIRST}\nAnd be brief."), ("greet", GREETING)):
        made = own.http.post("/v1/prompts", json={"name": name, "text": text})
        assert made.status_code == 200, made.text
    yield own
    own.http.close()


def held(shown: Shown) -> str:
    """What is in the message box."""
    value: str = shown.page.evaluate(f"{BOX}.value")
    return value


def slash(shown: Shown) -> None:
    shown.page.evaluate(f"{BOX}.focus()")
    shown.write("/")


def key(shown: Shown, name: str, code: int) -> None:
    shown.page.press(name, code)


def options(shown: Shown) -> list[str]:
    script = "[...document.querySelectorAll('[role=option] strong')].map((one) => one.textContent)"
    names: list[str] = shown.page.evaluate(script)
    return names


def active(shown: Shown) -> str:
    """The option of which a screen reader speaks."""
    script = """document.getElementById(document.activeElement.getAttribute("aria-activedescendant")).textContent"""
    said: str = shown.page.evaluate(script)
    return said


def test_a_prompt_is_chosen_and_filled_in_by_the_keyboard_alone(writer: World) -> None:
    with writer.page() as shown:
        slash(shown)
        shown.there("[role=option]")
        assert options(shown) == ["facts", "greet"]
        assert active(shown) == f"facts{FIRST}"
        assert shown.count("[role=option] b") == 0
        key(shown, "ArrowDown", 40)
        shown.there("[aria-selected=true]", "greet")
        key(shown, "ArrowDown", 40)
        shown.there("[aria-selected=true]", "facts")
        shown.write("gre")
        shown.page.until("document.querySelectorAll('[role=option]').length === 1")
        assert active(shown).startswith("greet")
        shown.enter()
        shown.there("dialog form label", "language")
        shown.page.until("document.activeElement.name === 'name'")
        shown.write("Ada {{language}}")
        key(shown, "Tab", 9)
        shown.write("Welsh")
        shown.enter()
        shown.gone("dialog")
        assert held(shown) == "Greet Ada {{language}} in Welsh.\nBe polite to Ada {{language}}."
        assert shown.page.evaluate(f"document.activeElement === {BOX}")
        assert shown.page.evaluate(f"{BOX}.selectionStart") == len(held(shown))
        assert shown.count(".question") == 0, "nothing is sent by itself"
        shown.enter()
        shown.answered()
        shown.there(".question", "Greet Ada {{language}} in Welsh.")
        shown.page.settle()
        assert shown.page.complaints == []


def test_escape_and_a_query_without_a_match_leave_the_text(writer: World) -> None:
    with writer.page() as shown:
        slash(shown)
        shown.there("[role=option]")
        shown.write("fac")
        key(shown, "Escape", 27)
        shown.gone("dialog")
        assert held(shown) == "/fac"
        assert shown.page.evaluate(f"document.activeElement === {BOX}")
        shown.write("ts")
        assert held(shown) == "/facts"
        assert shown.count("dialog") == 0, "it opens at the first character alone"
        shown.page.evaluate(f"{BOX}.select()")
        shown.write("/")
        shown.page.settle()
        assert shown.count("dialog") == 0
        shown.page.press("Backspace", 8)
        shown.page.until(f"{BOX}.value === ''")
        shown.write("/")
        shown.there("[role=option]")
        shown.write("etc/hosts")
        shown.there("dialog [role=status]", "No prompt matches.")
        assert shown.count("[role=listbox]") == 0
        shown.enter()
        shown.gone("dialog")
        assert held(shown) == "/etc/hosts"
        shown.page.settle()
        assert shown.page.complaints == []


def test_the_button_adds_a_prompt_to_what_was_written(writer: World) -> None:
    with writer.page() as shown:
        shown.page.evaluate(f"{BOX}.focus()")
        shown.write("First this.")
        shown.click("[aria-label=Prompts]")
        shown.there("[role=option]", "facts")
        key(shown, "Escape", 27)
        shown.gone("dialog")
        assert held(shown) == "First this."
        shown.click("[aria-label=Prompts]")
        shown.there("[role=option]", "facts")
        shown.page.evaluate("document.querySelector('[role=option]').click()")
        shown.gone("dialog")
        assert held(shown) == f"First this.\n{FIRST}\nAnd be brief."
        assert shown.page.evaluate(f"document.activeElement === {BOX}")


def test_the_version_that_production_points_to_is_used(writer: World) -> None:
    [greet] = [one for one in writer.http.get("/v1/prompts").json()["data"] if one["name"] == "greet"]
    path = f"/v1/prompts/{greet['id']}"
    assert writer.http.put(f"{path}/labels/production", json={"version": 1}).status_code == 200
    assert writer.http.post(f"{path}/versions", json={"text": "Not yet."}).status_code == 200
    with writer.page() as shown:
        slash(shown)
        shown.there("[role=option]", "Greet {{ name }} in {{language}}.")
        shown.write("greet")
        shown.there("[aria-selected=true]", "greet")
        shown.enter()
        shown.there("dialog form label", "language")


@pytest.mark.parametrize("scopes", [["inference", "feedback"], ["inference", "data"]])
def test_who_may_not_list_prompts_writes_an_ordinary_character(world: World, scopes: list[str]) -> None:
    """By scope, and if the server says so all the same."""
    key = world.up.loop.do(key_of(world.up.services, Principal("acme", "unable", ""), scopes=scopes))
    own = World(world.up, world.engine, world.browser, key)
    with own.page() as shown:
        if "data" in scopes:
            refuse = """{ const real = fetch; window.fetch = (path, ...more) => String(path).startsWith("/v1/prompts")
              ? Promise.resolve(new Response('{"error": {"code": "forbidden", "message": ""}}', { status: 403 }))
              : real(path, ...more); }"""
            shown.page.evaluate(refuse)
            shown.there("[aria-label=Prompts]")
        slash(shown)
        shown.gone("[aria-label=Prompts]")
        shown.write("a")
        assert held(shown) == "/a"
        assert shown.count("dialog") == 0
        assert shown.count(".composer [role=alert]") == 0
        assert "data" in scopes or not [url for url in shown.page.requests if "/v1/prompts" in url]
    own.http.close()


def test_what_goes_wrong_is_said_and_loses_nothing(writer: World) -> None:
    with writer.page() as shown:
        shown.page.ask("Network.setBlockedURLs", urls=["*/v1/prompts*"])
        slash(shown)
        shown.there(".composer [role=alert]", "The server cannot be reached.")
        assert held(shown) == "/"
        shown.page.ask("Network.setBlockedURLs", urls=[])
        shown.click("[aria-label=Prompts]")
        shown.there("[role=option]", "greet")
        shown.gone(".composer [role=alert]")
        shown.page.ask("Network.setBlockedURLs", urls=["*/v1/prompts*"])
        shown.enter()
        shown.there("dialog [role=alert]", "The server cannot be reached.")
        shown.page.ask("Network.setBlockedURLs", urls=[])
        token = shown.page.evaluate("fetch('/auth/session').then((a) => a.json()).then((s) => s.csrf_token)")
        ended = f"fetch('/auth/logout', {{method: 'POST', headers: {{'x-csrf-token': {json.dumps(token)}}}}})"
        assert shown.page.evaluate(f"{ended}.then((a) => a.status)") == 200
        shown.enter()
        shown.there("dialog.sign-in")
        assert held(shown) == "/"


def test_a_dialog_that_does_not_load_is_an_error_and_leaves_the_text(writer: World) -> None:
    with writer.page() as shown:
        shown.page.ask("Network.setBlockedURLs", urls=["*/assets/*"])
        slash(shown)
        shown.there(".composer [role=alert]", "The server cannot be reached.")
        assert held(shown) == "/"
        shown.write("a")
        shown.gone(".composer [role=alert]")
        assert held(shown) == "/a"


@layouts
def test_axe_finds_nothing(writer: World, axe: str, width: int, language: str) -> None:
    said = texts(language)
    with writer.page(width=width, language=language) as shown:
        shown.there(f"[aria-label='{said['prompts']}']")
        slash(shown)
        shown.there("[role=option]", "greet")
        clean(shown, axe)
        shown.write("zzz")
        shown.gone("[role=option]")
        clean(shown, axe)
        key(shown, "Escape", 27)
        shown.gone("dialog")
        shown.click(f"[aria-label='{said['prompts']}']")
        shown.there("[role=option]", "greet")
        shown.write("greet")
        shown.page.until("document.querySelectorAll('[role=option]').length === 1")
        shown.enter()
        shown.there("dialog form label")
        clean(shown, axe)
