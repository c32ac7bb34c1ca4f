"""Somebody's own API keys: listed, made with the secret shown once, confirmed, replaced and revoked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import httpx
import pytest

from serving.core.principal import Principal, Role
from tests.callers.identity import key_of
from tests.contract.page.test_accessibility import clean, layouts, press, texts
from tests.contract.page.world import Shown, World
from tests.wait import eventually

SAID = texts("en")
SECRET = "document.querySelector('.secret code')?.textContent"
_names = count()


def person(world: World, role: Role = "user", key: str = "") -> World:
    """The page for somebody new of the tenant, or for whoever has the key."""
    who = Principal("acme", f"k{next(_names)}-{role}", "")
    made = key or world.up.loop.do(key_of(world.up.services, who, role=role))
    return World(world.up, world.engine, world.browser, made)


def mine(who: World) -> list[dict[str, Any]]:
    answer = who.http.get("/v1/me/keys")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def permits(world: World, key: str) -> int:
    """The status of a request for what is stored."""
    headers = {"authorization": f"Bearer {key}"}
    return httpx.get(f"{world.up.url}/v1/files", headers=headers, timeout=60, trust_env=False).status_code


def given(world: World, who: World, name: str) -> str:
    """A key that an admin of the tenant makes for somebody."""
    admin = person(world, "admin")
    user = who.http.get("/v1/me").json()["id"]
    answer = admin.http.post("/v1/admin/keys", json={"user": user, "name": name})
    assert answer.status_code == 200, answer.text
    assert answer.json()["confirmed"] is False
    key: str = answer.json()["key"]
    return key


@contextmanager
def opened(who: World) -> Iterator[Shown]:
    """The dialog of the keys."""
    with who.page() as shown:
        shown.click("[aria-label=Settings]")
        press(shown, "dialog", SAID["apiKeys"])
        shown.there(".memories li")
        yield shown
        shown.page.settle()
        # Chromium itself says it of a request that the API refuses.
        assert [line for line in shown.page.complaints if "status of 409" not in line] == []


def listed(shown: Shown) -> list[str]:
    read = "[...document.querySelectorAll('.memories strong')].map((one) => one.textContent)"
    names: list[str] = shown.page.evaluate(read)
    return names


def secret(shown: Shown) -> str:
    """The secret that is shown this once; then it is said to be kept."""
    shown.there(".secret code")
    found: str = shown.page.evaluate(SECRET)
    assert SAID["shownOnce"] == shown.page.evaluate("document.activeElement.textContent")
    press(shown, "dialog", SAID["kept"])
    shown.gone(".secret")
    assert found not in shown.page.evaluate("document.documentElement.innerHTML")
    return found


def test_an_admin_makes_a_key_of_their_own(world: World) -> None:
    ada = person(world, "admin")
    with opened(ada) as shown:
        press(shown, "dialog", SAID["makeKey"])
        shown.page.until("document.activeElement.matches('.own form input')")
        shown.write("lap<b>top</b>")
        shown.page.choose(".own form select", str(30 * 86400))
        shown.page.evaluate("""[...document.querySelectorAll('.own .tick')]
          .filter((one) => ['inference', 'data:read'].includes(one.textContent)).forEach((one) => one.click())""")
        shown.click(".own form [type=submit]")
        key = secret(shown)
        newest, first = mine(ada)
        assert (newest["name"], set(newest["scopes"])) == ("lap<b>top</b>", {"inference", "data:read"})
        assert newest["expires_at"] - newest["created_at"] == 30 * 86400
        assert newest["confirmed"]
        assert permits(world, key) == 200
        eventually(lambda: listed(shown) == ["lap<b>top</b>", first["id"]])
        shown.there(".memories li", SAID["keyOfSession"])


def test_only_admins_are_offered_to_make_keys(world: World) -> None:
    with opened(person(world)) as shown:
        shown.there(".own", SAID["askForKeys"])
        assert shown.count("#make") == 0
        shown.there(".memories li", SAID["keyOfSession"])
        assert shown.count(".memories li") == 1


def test_a_key_that_an_admin_made_is_confirmed(world: World) -> None:
    bob = person(world)
    key = given(world, bob, "handed")
    with opened(bob) as shown:
        shown.there(".memories li", SAID["key_unconfirmed"])
        assert permits(world, key) == 403
        press(shown, ".memories", SAID["confirmKey"])
        shown.there(".own form", SAID["confirmKeyQuestion"])
        assert permits(world, key) == 403
        assert shown.page.evaluate("document.activeElement.textContent") == SAID["cancel"]
        shown.click(".own form [type=submit]")
        shown.gone(".own form")
        shown.page.until(f"!document.querySelector('.memories').textContent.includes('{SAID['key_unconfirmed']}')")
        assert [each["confirmed"] for each in mine(bob)] == [True, True]
        assert shown.page.evaluate("document.activeElement.id") == mine(bob)[0]["id"]


def test_a_first_key_that_an_admin_made_is_replaced_and_the_page_goes_on(world: World) -> None:
    """The admin knows it, so it permits nothing, and the page can do nothing else with it."""
    admin = person(world, "admin")
    user = f"first{next(_names)}"
    assert admin.http.post("/v1/admin/users", json={"id": user}).status_code == 200
    handed = admin.http.post("/v1/admin/keys", json={"user": user}).json()["key"]
    with person(world, key=handed).page() as shown:
        shown.click("[aria-label=Settings]")
        press(shown, "dialog", SAID["apiKeys"])
        shown.there(".own", SAID["firstKey"])
        assert shown.count(".memories li") == 0
        shown.page.choose(".own form select", "0")
        shown.click(".own form [type=submit]")
        key = secret(shown)
        assert permits(world, key) == 200
        new, old = mine(person(world, key=key))
        assert (new["confirmed"], old["rotated_to"]) == (True, new["id"])
        assert abs(old["expires_at"] - new["created_at"]) <= 1
        shown.page.until("document.querySelectorAll('.memories li').length === 2")
        assert shown.count("#expired") == 0
        shown.page.evaluate("document.querySelector('.own .panel-head button').click()")
        shown.ask("Do I still talk?")
        shown.answered()


def test_a_replaced_key_works_as_long_as_was_said(world: World) -> None:
    """The session, which acts as the key, goes on with the new one."""
    tess = person(world)
    with opened(tess) as shown:
        press(shown, ".memories", SAID["replaceKey"])
        shown.there(".own form select")
        shown.page.choose(".own form select", str(86400))
        shown.click(".own form [type=submit]")
        key = secret(shown)
        assert (permits(world, key), permits(world, tess.key)) == (200, 200)
        new, old = mine(tess)
        assert old["rotated_to"] == new["id"]
        shown.page.until("document.querySelectorAll('.memories li').length === 2")
        current = f"document.getElementById('{new['id']}').textContent.includes('{SAID['keyOfSession']}')"
        shown.page.until(current)
        assert shown.count(f"#replace-{old['id']}") == 0
        assert shown.count(f"#revoke-{old['id']}") == 1


def test_a_key_is_revoked_after_a_question(world: World) -> None:
    bob = person(world)
    key = given(world, bob, "lost")
    id = mine(bob)[0]["id"]
    with opened(bob) as shown:
        shown.click(f"#revoke-{id}")
        shown.there(".own form", SAID["revokeKeyQuestion"])
        assert SAID["revokeEndsSession"] not in shown.text(".own form")
        press(shown, ".own form", SAID["cancel"])
        assert shown.page.evaluate("document.activeElement.id") == f"revoke-{id}"
        assert mine(bob)[0]["revoked_at"] is None
        shown.click(f"#revoke-{id}")
        shown.click(".own form [type=submit]")
        shown.there(f"#{id}", SAID["key_revoked"])
        assert shown.count(f"#{id} button") == 0
        assert permits(world, key) == 401


def test_what_the_api_refuses_is_said_and_nothing_is_lost(world: World) -> None:
    """The stack's own key, which only the stack replaces."""
    with opened(World(world.up, world.engine, world.browser, world.up.key)) as shown:
        press(shown, ".memories", SAID["replaceKey"])
        shown.click(".own form [type=submit]")
        shown.there(".own form [role=alert]", "only the stack replaces")
        assert shown.count(".secret") == 0
        assert permits(world, world.up.key) == 200


def test_a_key_is_replaced_by_keyboard_alone(world: World) -> None:
    tess = person(world)
    with tess.page() as shown:
        shown.click("[aria-label=Settings]")
        tab_to(shown, SAID["apiKeys"])
        shown.enter()
        shown.there(".memories li")
        tab_to(shown, SAID["replaceKey"])
        shown.enter()
        shown.there(".own form select")
        tab_to(shown, SAID["replaceKey"], "form")
        shown.enter()
        shown.there(".secret")
        tab_to(shown, SAID["kept"])
        shown.enter()
        shown.gone(".secret")
        assert len(mine(tess)) == 2


def tab_to(shown: Shown, text: str, within: str = "dialog") -> None:
    """Presses the tabulator until a button with a text has the focus."""
    there = f"""document.activeElement.textContent === {json.dumps(text)}
      && document.activeElement.closest({json.dumps(within)}) !== null"""
    for _ in range(40):
        if shown.page.evaluate(there):
            return
        shown.page.press("Tab", 9)
    pytest.fail(f"no tabulator leads to {text}")


@layouts
def test_every_state_is_accessible(world: World, axe: str, width: int, language: str) -> None:
    said = texts(language)
    ada = person(world, "admin")
    given(world, ada, "handed")
    with ada.page(width=width, language=language) as shown:
        shown.click(f"[aria-label='{said['settings']}']")
        clean(shown, axe)
        press(shown, "dialog", said["apiKeys"])
        shown.there(".memories li")
        clean(shown, axe)
        for act in ("confirm", "replace", "revoke"):
            shown.click(f".memories [id^={act}]")
            shown.there(".own form")
            clean(shown, axe)
        shown.click("#make")
        shown.there(".own fieldset")
        clean(shown, axe)
        shown.click(".own form [type=submit]")
        shown.there(".secret")
        clean(shown, axe)
