"""Who deletes something sees a receipt, can save it and find it again; the audit log has it under the same id."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.page.own.test_own import press
from tests.contract.page.test_saved import CAUGHT
from tests.contract.page.world import Shown, World


@pytest.fixture
def tess(world: World) -> World:
    key = world.up.loop.do(key_of(world.up.services, Principal("acme", f"deletes{secrets.token_hex(4)}", "")))
    return World(world.up, world.engine, world.browser, key)


def talk(tess: World, title: str) -> str:
    made = tess.http.post("/v1/conversations", json={"items": [{"role": "user", "content": "x"}]}).json()["id"]
    tess.http.post(f"/v1/conversations/{made}", json={"headrace": {"title": title}})
    return str(made)


def logged(tess: World, target: str) -> dict[str, Any]:
    operator = {"authorization": f"Bearer {tess.up.key}"}
    events = tess.http.get("/v1/admin/audit?tenant=acme&limit=100", headers=operator).json()["data"]
    [found] = [each for each in events if each["target"] == target]
    return dict(found)


def check(shown: Shown, tess: World, id: str, what: str) -> None:
    """Whether a receipt is shown, as the audit log has it."""
    shown.there(".receipt", id)
    event = logged(tess, id)
    text = next(each for each in shown.page.evaluate(SHOWN) if id in each)
    assert what in text
    assert "Finished" in text
    assert event["id"] in text
    assert event["hash"] in text


SHOWN = "[...document.querySelectorAll('.receipt')].map((one) => one.textContent)"


def test_a_deleted_conversation_shows_a_receipt_that_is_saved_and_found_again(tess: World) -> None:
    id = talk(tess, "Secret plans")
    with tess.page() as shown:
        shown.page.evaluate(CAUGHT)
        shown.click(".side li button")
        press(shown, "dialog", "Delete")
        shown.there("dialog", "with all its messages")
        shown.click("dialog .danger")
        check(shown, tess, id, "1 conversation with 1 messages")
        assert shown.page.evaluate("document.activeElement.textContent") == "Close"
        shown.page.evaluate("window.text = null")
        shown.click(".receipt button")
        shown.page.until("window.text")
        assert shown.page.evaluate("window.names") == [f"deletion-{id}.json"]
        assert json.loads(shown.page.evaluate("window.text")) == tess.http.get(f"/v1/me/deletions/{id}").json()
        shown.click("dialog .primary")
        shown.gone("dialog")
        shown.page.open(tess.up.url)
        shown.click("[aria-label=Settings]")
        press(shown, "dialog", "What you deleted")
        check(shown, tess, id, "1 conversation")
        assert "Secret plans" not in shown.text("dialog")
        shown.page.settle()
        assert shown.page.complaints == []


def test_all_conversations_are_deleted_with_one_receipt(tess: World) -> None:
    for number in range(3):
        talk(tess, f"Talk {number}")
    with tess.page() as shown:
        shown.page.until("document.querySelectorAll('.side li').length === 3")
        shown.click("[aria-label=Settings]")
        press(shown, "dialog", "What you deleted")
        shown.there("dialog", "No deletion is recorded.")
        press(shown, "dialog", "Delete all conversations")
        shown.there("dialog", "This cannot be undone.")
        assert len(tess.http.get("/v1/conversations").json()["data"]) == 3
        press(shown, "dialog", "Delete all conversations")
        shown.there(".receipt")
        [receipt] = tess.http.get("/v1/me/deletions").json()["data"]
        check(shown, tess, receipt["id"], "3 conversations")
        assert tess.http.get("/v1/conversations").json()["data"] == []
        assert shown.count(".side li") == 0


def test_forgotten_memories_show_receipts(tess: World) -> None:
    for text in ("Rows.", "Reads.", "Rides."):
        made = tess.http.post("/v1/memories", json={"assistant": "keeper", "text": text}).json()["id"]
    with tess.page() as shown:
        shown.click("[aria-label=Settings]")
        press(shown, "dialog", "What assistants remember")
        shown.click("[aria-label='Forget “Rides.”']")
        check(shown, tess, made, "1 memory")
        press(shown, "dialog", "Forget all")
        press(shown, "dialog", "Forget all")
        shown.there(".receipt", "2 memories")
        newest = tess.http.get("/v1/me/deletions").json()["data"][0]
        check(shown, tess, newest["id"], "2 memories")
