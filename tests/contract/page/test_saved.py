"""A conversation as a file: whole, with all that the page does not draw, or none at all."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.page.world import DOCUMENT, HOSTILE_TITLE, QUOTE, Shown, World

CAUGHT = """(() => {
  window.names = [];
  const make = URL.createObjectURL;
  URL.createObjectURL = (blob) => {
    blob.text().then((text) => { window.text = text; });
    return make.call(URL, blob);
  };
  HTMLAnchorElement.prototype.click = function () { window.names.push(this.download); };
})()"""
"""Keeps what is saved, and the names of the files, instead of a browser's download."""
BROKEN = """(() => {
  const ask = window.fetch;
  window.fetch = (path, ...more) => window.broken && String(path).includes("after=")
    ? Promise.resolve(Response.json({ error: { code: "internal", message: "It broke." } }, { status: 500 }))
    : ask(path, ...more);
  window.broken = true;
})()"""
"""Makes each page of items after the first fail, until `broken` is false."""
LONG = 230


@pytest.fixture
def tess(world: World) -> World:
    key = world.up.loop.do(key_of(world.up.services, Principal("acme", f"saves{secrets.token_hex(4)}", "")))
    return World(world.up, world.engine, world.browser, key)


def save(shown: Shown, button: str) -> None:
    """Presses a button in the dialog of the newest conversation."""
    if not shown.count("dialog[open]"):
        shown.click(".side li button")
    shown.there("dialog button", button)
    named = f"(one) => one.textContent === {button!r}"
    shown.page.evaluate(f"[...document.querySelectorAll('dialog button')].find({named}).click()")


def saved(shown: Shown, button: str) -> tuple[str, str]:
    """Returns the name of the file that a button saves, and its text."""
    shown.page.evaluate("window.text = null; window.names = []")
    save(shown, button)
    shown.page.until("window.names.length && window.text !== null", lambda: shown.text("dialog"))
    [name] = shown.page.evaluate("window.names")
    shown.gone("dialog")
    return name, shown.page.evaluate("window.text")


def items(tess: World, conversation: str) -> list[dict[str, Any]]:
    query = {"order": "asc", "include": "headrace", "limit": "100"}
    found: list[dict[str, Any]] = []
    while True:
        page = tess.http.get(f"/v1/conversations/{conversation}/items", params=query).json()
        found += page["data"]
        if not page["has_more"]:
            return found
        query["after"] = page["last_id"]


def test_a_conversation_is_saved_with_sources_and_signs_as_the_api_tells_it(tess: World) -> None:
    tess.engine.says["Save:"] = "The sea is deep. Nobody knows. ![x](http://evil.example/)"
    with tess.page() as shown:
        shown.ask("Save: a/b\u202e?")
        shown.answered()
        truth = items(tess, shown.page.evaluate("location.pathname.slice(3)"))
        file = truth[1]["headrace"]["citations"][0]["file_id"]
        shown.page.evaluate(CAUGHT)
        name, text = saved(shown, "Save as JSON")
        told = json.loads(text)
        assert name == "Save a b.json"
        assert told["items"] == truth
        [asked, answer] = told["messages"]
        assert (asked["text"], asked["created_at"]) == (truth[0]["content"][0]["text"], truth[0]["created_at"])
        [source] = answer["sources"]
        assert (source["number"], source["url"]) == (1, f"{tess.up.url}/v1/files/{file}/content")
        assert [each["quote"] for each in source["passages"]] == [QUOTE]
        assert answer["text"].startswith("The sea is deep.[1] Nobody knows.[?]")

        name, text = saved(shown, "Save as Markdown")
        assert name == "Save a b.md"
        assert "\n\nThe sea is deep.\\[1] Nobody knows.\\[?] \\![x](http://evil.example/)\n\n" in text
        start = DOCUMENT.index(QUOTE)
        place = f"Page 3, characters {start} to {start + len(QUOTE)}"
        assert f", {place}, <{source['url']}>\n   - The sea is \\<b\\>deep\\</b\\>." in text
        assert HOSTILE_TITLE not in text
        assert "\u202e" not in text.replace("> Save: a/b\u202e?", "")
        shown.page.settle()
        assert shown.page.complaints == []


def test_all_of_a_long_conversation_is_saved_and_nothing_of_one_that_breaks(tess: World) -> None:
    made = tess.http.post("/v1/conversations", json={}).json()["id"]
    for first in range(0, LONG, 10):
        said = [{"role": "user", "content": f"Number {first + at}."} for at in range(10)]
        answer = tess.http.post(f"/v1/conversations/{made}/items", json={"items": said})
        assert answer.status_code == 200, answer.text
    assert tess.http.post(f"/v1/conversations/{made}", json={"headrace": {"title": "CON"}}).status_code == 200
    with tess.page() as shown:
        shown.page.evaluate(CAUGHT)
        shown.page.evaluate(BROKEN)
        for button in ("Save as Markdown", "Save as JSON"):
            save(shown, button)
            shown.there("dialog [role=alert]", "Nothing was saved. It broke.")
        assert shown.page.evaluate("window.names") == []
        shown.page.evaluate("window.broken = false")
        name, text = saved(shown, "Save as Markdown")
        assert name == "conversation CON.md"
        asked = [line for line in text.splitlines() if line.startswith("> ")]
        assert asked == [f"> Number {at}." for at in range(LONG)]
        assert json.loads(saved(shown, "Save as JSON")[1])["items"] == items(tess, made)


def test_nothing_is_saved_while_the_server_cannot_be_reached(tess: World) -> None:
    tess.http.post("/v1/conversations", json={})
    with tess.wire() as (url, wire), tess.page(url=url) as shown:
        shown.there(".side li button")
        shown.page.evaluate(CAUGHT)
        tess.up.loop.do(wire.stop())
        save(shown, "Save as JSON")
        shown.there("dialog [role=alert]", "Nothing was saved. The server cannot be reached.")
        assert shown.page.evaluate("window.names") == []
