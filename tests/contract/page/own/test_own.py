"""What is one's own: memories, usage with its budget, and an assistant's first questions."""

from __future__ import annotations

import secrets

import pytest

from serving.core.principal import Principal, Role
from tests.callers.identity import key_of
from tests.contract.page.world import STARTERS, Shown, World

FACTS = ("Rows a boat.", "Likes <b>tea</b>.")


@pytest.fixture
def tess(world: World) -> World:
    """Somebody with memories and a budget of their own."""
    key = world.up.loop.do(key_of(world.up.services, Principal("acme", f"own{secrets.token_hex(4)}", "")))
    own = World(world.up, world.engine, world.browser, key)
    for text in FACTS:
        answer = own.http.post("/v1/memories", json={"assistant": "keeper", "text": text})
        assert answer.status_code == 200, answer.text
    return own


def remembered(tess: World) -> list[str]:
    return [each["text"] for each in tess.http.get("/v1/memories").json()["data"]]


def press(shown: Shown, within: str, text: str) -> None:
    shown.page.until(f"[...document.querySelectorAll('{within} button')].some((one) => one.textContent === {text!r})")
    shown.page.evaluate(
        f"[...document.querySelectorAll('{within} button')].find((one) => one.textContent === {text!r}).click()"
    )


def test_memories_are_seen_and_forgotten(tess: World) -> None:
    with tess.page() as shown:
        shown.click("[aria-label=Settings]")
        press(shown, "dialog", "What assistants remember")
        shown.page.until("document.querySelectorAll('.memories li').length === 2")
        texts = "[...document.querySelectorAll('.memories li p:first-child')].map((one) => one.textContent)"
        assert shown.page.evaluate(texts) == remembered(tess)
        assert shown.count(".memories b") == 0
        shown.click(f"[aria-label='Forget “{FACTS[0]}”']")
        shown.page.until("document.querySelectorAll('.memories li').length === 1")
        assert remembered(tess) == [FACTS[1]]
        press(shown, "dialog", "Forget all")
        shown.there("dialog", "This cannot be undone.")
        assert remembered(tess) == [FACTS[1]]
        press(shown, "dialog", "Forget all")
        shown.there("dialog", "No assistant remembers anything about you.")
        assert remembered(tess) == []
        shown.page.settle()
        assert shown.page.complaints == []


AT_ONCE = """(async () => {
  const there = async (find) => {
    for (let turn = 0; turn < 100 && !find(); turn += 1) await null;
    return find();
  };
  const button = (text) => [...document.querySelectorAll("dialog button")].find((one) => one.textContent === text);
  document.querySelector("[aria-label=Settings]").click();
  (await there(() => button("What assistants remember"))).click();
  (await there(() => document.querySelector(".own [aria-label=Close]"))).click();
  return document.querySelectorAll("dialog[open]").length;
})()"""
"""Opens the settings, the memories instead of them, and closes these, all before the page is painted once."""


def test_a_dialog_that_is_closed_before_it_is_painted_stays_closed(tess: World) -> None:
    with tess.page() as shown:
        assert shown.page.evaluate(AT_ONCE) == 0
        shown.gone("dialog")
        shown.page.settle()
        assert shown.page.complaints == []


@pytest.mark.parametrize(("role", "links"), [("user", 0), ("operator", 1)])
def test_the_settings_lead_whoever_operates_to_the_console_and_back(world: World, role: Role, links: int) -> None:
    who = Principal("acme", f"a-{role}", "")
    key = world.up.loop.do(key_of(world.up.services, who, role=role))
    with World(world.up, world.engine, world.browser, key).page() as shown:
        shown.click("[aria-label=Settings]")
        shown.there("dialog[open] .buttons")
        assert shown.count("dialog a[href='/admin']") == links
        if links:
            shown.click("dialog a[href='/admin']")
            shown.there("h1", "Overview")
            shown.click("nav a[href='/']")
            shown.there("#message")


def test_usage_and_budget_are_those_of_the_api(tess: World) -> None:
    with tess.page() as shown:
        shown.ask("What does it cost?")
        shown.answered()
        user = tess.http.get("/v1/me").json()["id"]
        quota = {"subject": "user", "id": user, "window": "day", "measure": "requests", "limit": 7}
        platform = {"authorization": f"Bearer {tess.up.key}"}
        set_ = tess.http.put("/v1/admin/quotas", json={"quotas": [quota]}, headers=platform, params={"tenant": "acme"})
        assert set_.status_code == 200, set_.text
        shown.click("[aria-label=Settings]")
        press(shown, "dialog", "Usage and budget")
        shown.there("dialog tbody tr")
        told = tess.http.get("/v1/usage", params={"by": "model"}).json()
        cells = "row.cells[0].textContent + row.cells[1].textContent"
        rows = f"[...document.querySelectorAll('dialog tbody tr')].map((row) => {cells})"
        assert shown.page.evaluate(rows) == [f"{each['id']}{each['requests']}" for each in told["data"]]
        [mine] = [each for each in told["quotas"] if each["limit"] == 7]
        shown.there(".budget", f"{mine['used']} of 7 used")
        meter = "[document.querySelector('.budget meter').value, document.querySelector('.budget meter').max]"
        assert shown.page.evaluate(meter) == [mine["used"], 7]
        shown.page.settle()
        assert shown.page.complaints == []


def test_an_assistant_offers_first_questions(world: World) -> None:
    listed = {each["id"]: each["headrace"] for each in world.http.get("/v1/models").json()["data"]}
    assert listed["keeper"]["starters"] == list(STARTERS)
    assert "starters" not in listed["docs"]
    with world.page() as shown:
        shown.page.until("document.querySelector('.chooser select').value !== ''")
        shown.gone(".starters")
        shown.page.choose(".chooser select", "keeper")
        shown.there(".starters button", STARTERS[1])
        assert shown.page.evaluate("document.querySelector('.starters button').textContent") == STARTERS[0]
        shown.page.evaluate("document.querySelector('.starters button').focus()")
        shown.enter()
        shown.answered()
        assert shown.text(".question > p") == STARTERS[0]
