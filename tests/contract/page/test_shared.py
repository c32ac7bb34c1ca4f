"""A conversation is shared by a link, read by others of the tenant, and no more once the link is revoked."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.page.test_accessibility import clean
from tests.contract.page.world import HOSTILE_TITLE, QUOTE, Shown, World
from tools.stack.sign_in_link import sign_in_link

HOSTILE = (
    "The sea is <b>deep</b>. <script>window.bad = 1</script> "
    "![x](https://evil.example/x.png) [y](javascript:alert(1)) <img src=x onerror='window.bad=1'>"
)


@pytest.fixture
def nora(world: World) -> World:
    """A colleague of whoever shares."""
    key = world.up.loop.do(key_of(world.up.services, Principal("acme", f"nora{secrets.token_hex(4)}", "")))
    return World(world.up, world.engine, world.browser, key)


@pytest.fixture
def store(world: World) -> Iterator[str]:
    """A vector store of the file from which answers are made, which the tenant may read."""
    file = world.http.get("/v1/files", params={"order": "asc", "limit": 1}).json()["data"][0]["id"]
    id = str(world.http.post("/v1/vector_stores", json={"name": "seas"}).json()["id"])
    world.http.post(f"/v1/vector_stores/{id}/files", json={"file_id": file}).raise_for_status()
    yield id
    world.http.delete(f"/v1/vector_stores/{id}").raise_for_status()


@contextmanager
def reading(who: World, address: str) -> Iterator[Shown]:
    with who.page() as shown:
        shown.page.open(address)
        yield shown


def press(shown: Shown, within: str, text: str) -> None:
    buttons = f"[...document.querySelectorAll('{within} button:not(:disabled)')]"
    found = f"{buttons}.find((one) => one.textContent === {text!r})"
    shown.page.until(f"!!{found}")
    shown.page.evaluate(f"{found}.click()")


@pytest.mark.usefixtures("store")
def test_a_conversation_is_shared_read_and_no_more(world: World, nora: World, axe: str) -> None:
    world.engine.says["share this"] = HOSTILE
    with world.page() as shown:
        shown.ask("Please share this <i>sea</i>?")
        shown.answered()
        shown.page.evaluate("document.querySelector('.side li button').focus()")
        shown.click(".side li:first-child button")
        press(shown, "dialog", "Share")
        shown.there("dialog h2", "Share this conversation")
        shown.there("dialog", "Everybody in your organisation who has the link")
        clean(shown, axe)
        press(shown, "dialog", "Create a link")
        shown.there("dialog .links li", "Works until")
        address = shown.page.evaluate("document.querySelector('.links input').value")
        assert address.startswith(f"{world.up.url}/s/share_")
        shown.click("dialog [aria-label=Close]")
        shown.gone("dialog")
        focused = "document.activeElement.getAttribute('aria-label')"
        assert "Change" in shown.page.evaluate(focused), "the focus is back where it was"
        shown.ask("What comes later?")
        shown.answered(2)

        with reading(nora, address) as read:
            read.there(".question", "Please share this <i>sea</i>?")
            read.there(".answer", "The sea is <b>deep</b>.")
            read.there(".messages", "Shared by mara until")
            assert read.page.evaluate("document.title") == "Shared conversation - Headrace"
            assert read.count(".question") == read.count(".answer") == 1
            assert read.count(".answer img, .answer script, .answer b, .question i, [href^='javascript']") == 0
            assert read.page.evaluate("window.bad") is None
            for control in ("textarea", "#message", ".rating", "[aria-label='Change the question']", ".approvals"):
                assert read.count(control) == 0, control
            assert read.count("[aria-label='Answer again, as another version']") == 0
            clean(read, axe)
            read.click(".sources button")
            read.there(".panel blockquote", QUOTE)
            read.there(".panel h2", HOSTILE_TITLE.replace("\u202e", "\ufffd"))
            read.click(".panel [aria-label=Close]")
            read.gone(".panel")
            read.page.settle()
            assert read.page.complaints == []

            shown.click(".side li:first-child button")
            press(shown, "dialog", "Share")
            shown.there("dialog .links li")
            press(shown, "dialog .links", "Revoke")
            shown.gone("dialog .links li")
            assert shown.page.evaluate("document.activeElement.textContent") == "Create a link"
            read.page.open(address)
            read.there("[role=alert]", "Nothing is shared here, or not any more.")
            assert read.count(".question, .answer") == 0
            read.click(".head a")
            read.there("#message")


def test_a_withheld_answer_says_why(world: World, nora: World, store: str, axe: str) -> None:
    with world.page() as shown:
        shown.ask("Hide the sea?")
        shown.answered()
        id = shown.page.evaluate("location.pathname.slice(3)")
    share = world.http.post("/v1/shares", json={"conversation": id}).json()["id"]
    world.http.post(f"/v1/vector_stores/{store}", json={"access": {}}).raise_for_status()
    with reading(nora, f"{world.up.url}/s/{share}") as read:
        read.there(".question", "Hide the sea?")
        read.there(".withheld", "based on documents that you cannot read")
        assert read.count(".answer") == 0
        read.page.evaluate("localStorage.setItem('headrace.language', 'ar')")
        read.page.open(f"{world.up.url}/s/{share}")
        read.there(".withheld", "مستندات لا يمكنك قراءتها")
        assert read.page.evaluate("document.documentElement.dir") == "rtl"
        clean(read, axe)


def test_more_is_shown_once_and_a_failure_says_what_it_is(world: World, nora: World) -> None:
    said = [{"role": "user", "content": f"Question {n}"} for n in range(60)]
    id = world.http.post("/v1/conversations", json={}).json()["id"]
    for start in range(0, 60, 20):
        more = {"items": said[start : start + 20]}
        world.http.post(f"/v1/conversations/{id}/items", json=more).raise_for_status()
    share = world.http.post("/v1/shares", json={"conversation": id}).json()["id"]
    with reading(nora, f"{world.up.url}/s/{share}") as read:
        read.there(".question", "Question 49")
        assert read.count(".question") == 50
        read.page.evaluate("document.querySelector('.messages > button').id = 'more'")
        read.page.evaluate("for (let n = 0; n < 3; n++) document.getElementById('more').click()")
        read.page.until("document.querySelectorAll('.question').length === 60")
        read.page.settle()
        assert read.count(".question") == 60
        failing = "window.fetch = async () => new Response(JSON.stringify({error: {code: 'x', message: 'Too busy.'}}), "
        read.page.evaluate(failing + "{status: 503, headers: {'retry-after': '7'}})")
        read.page.evaluate("history.pushState({}, '', '/'); dispatchEvent(new PopStateEvent('popstate'))")
        read.page.evaluate(f"history.pushState({{}}, '', '/s/{share}'); dispatchEvent(new PopStateEvent('popstate'))")
        read.there("[role=alert]", "Too busy.")


def test_the_next_person_at_the_page_reads_with_their_own_rights(world: World, nora: World, store: str) -> None:
    with world.page() as shown:
        shown.ask("Mine, the sea?")
        shown.answered()
        id = shown.page.evaluate("location.pathname.slice(3)")
        share = world.http.post("/v1/shares", json={"conversation": id}).json()["id"]
        world.http.post(f"/v1/vector_stores/{store}", json={"access": {}}).raise_for_status()
        shown.page.open(f"{world.up.url}/s/{share}")
        shown.there(".question", "Mine, the sea?")
        assert shown.count(".answer") == 1
        link = sign_in_link(nora.up.url, nora.key)
        assert link is not None
        shown.page.evaluate(f"location.hash = '#{link.partition('#')[2]}'")
        shown.there(".withheld")
        assert shown.count(".answer") == 0
        assert shown.page.evaluate("fetch('/v1/me').then((it) => it.json()).then((me) => me.user)") != "mara"
