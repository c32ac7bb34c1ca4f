"""The list of conversations: found by a part of their titles, named, pinned, archived and deleted."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.page.world import Shown, World

TITLES = ("The locks of Brenna", "Water wheels", "Water rights")
READ = "performance.getEntriesByType('resource').some((one) => one.name.endsWith('/branches') && one.responseEnd > 0)"
"""Whether a conversation has been read to its end: its branches come last."""
LISTED = "[...document.querySelectorAll('.side li a')].map((one) => one.textContent)"


@pytest.fixture
def tess(world: World) -> World:
    """Somebody with three conversations of their own."""
    key = world.up.loop.do(key_of(world.up.services, Principal("acme", f"tess{secrets.token_hex(4)}", "")))
    own = World(world.up, world.engine, world.browser, key)
    for title in TITLES:
        made = own.http.post("/v1/conversations", json={}).json()["id"]
        assert own.http.post(f"/v1/conversations/{made}", json={"headrace": {"title": title}}).status_code == 200
    return own


def listed(shown: Shown, *titles: str) -> None:
    shown.page.until(f"{LISTED}.join() === {','.join(titles)!r}", lambda: shown.page.evaluate(LISTED))


def change(shown: Shown, title: str, button: str) -> None:
    """Opens what can be done with a conversation, and does it."""
    shown.click(f"[aria-label='Change “{title}”']")
    shown.page.evaluate(
        f"[...document.querySelectorAll('dialog button')].find((one) => one.textContent === {button!r}).click()"
    )


def kept(tess: World, **which: str) -> list[dict[str, Any]]:
    return [each["headrace"] for each in tess.http.get("/v1/conversations", params=which).json()["data"]]


def test_conversations_are_found_named_pinned_archived_and_deleted(tess: World) -> None:
    wheels, rights = TITLES[1:]
    with tess.page() as shown:
        listed(shown, *reversed(TITLES))
        change(shown, wheels, "Pin")
        shown.gone("dialog")
        listed(shown, wheels, rights, TITLES[0])
        assert [each["title"] for each in kept(tess, pinned="true")] == [wheels]

        shown.click(f"[aria-label='Change “{rights}”']")
        shown.there("dialog[open]")
        shown.page.evaluate("document.querySelector('#title').focus()")
        shown.page.evaluate("document.querySelector('#title').select()")
        shown.write("<b>Rights</b>")
        shown.enter()
        shown.gone("dialog")
        listed(shown, wheels, "<b>Rights</b>", TITLES[0])

        shown.page.evaluate("document.querySelector('[type=search]').focus()")
        shown.write("lock")
        listed(shown, TITLES[0])
        shown.page.evaluate("document.querySelector('[type=search]').select()")
        shown.write("nowhere")
        shown.there(".side .hint", "No conversation was found.")
        shown.page.evaluate("document.querySelector('[type=search]').select()")
        shown.page.press("Delete", 46)
        listed(shown, wheels, "<b>Rights</b>", TITLES[0])

        change(shown, TITLES[0], "Archive")
        listed(shown, wheels, "<b>Rights</b>")
        shown.click(".side .foot")
        listed(shown, TITLES[0])
        change(shown, TITLES[0], "Take out of the archive")
        shown.there(".side .hint", "Nothing is archived.")
        shown.click(".side .foot")
        listed(shown, wheels, "<b>Rights</b>", TITLES[0])

        shown.click(".side li a")
        shown.page.until("location.pathname.startsWith('/c/')")
        shown.page.until(READ)
        change(shown, TITLES[0], "Delete")
        shown.there("dialog", "with all its messages")
        shown.click("dialog .danger")
        shown.there("dialog .receipt", "1 conversation with 0 messages")
        shown.click("dialog .primary")
        shown.gone("dialog")
        listed(shown, wheels, "<b>Rights</b>")
        shown.page.until("location.pathname === '/'")
        assert len(kept(tess)) == 2
        shown.page.settle()
        assert shown.page.complaints == []
