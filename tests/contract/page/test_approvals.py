"""Calls of tools are shown with their arguments and made only when they are allowed; steps are shown folded."""

from __future__ import annotations

import json
from typing import Any

from tests.contract.page.world import Shown, World

FINAL = "Thought: done\nFinal Answer: It is open."


def acts(world: World, title: str) -> str:
    given = {"url": f"{world.engine.url}/tickets", "body": json.dumps({"title": title})}
    return f"Thought: I open one.\nAction: tickets\nAction Input: {json.dumps(given)}"


def clerk(shown: Shown) -> None:
    shown.page.until("document.querySelector('.chooser select').value !== ''")
    shown.page.choose(".chooser select", "clerk")


def newest(world: World, shown: Shown) -> dict[str, Any]:
    id = shown.page.evaluate("location.pathname.slice(3)")
    found: dict[str, Any] = world.http.get(f"/v1/conversations/{id}/items?include=headrace").json()["data"][0]
    return found


def test_a_call_is_made_only_when_it_is_allowed(world: World) -> None:
    world.engine.tickets.clear()
    title = "<b>Leak</b>"
    world.engine.acts = [acts(world, title)]
    with world.page() as shown:
        clerk(shown)
        shown.ask("Open a ticket.")
        shown.there(".approvals", "tickets")
        shown.answered()
        told = json.loads(shown.text(".approvals pre"))
        assert told["url"] == f"{world.engine.url}/tickets"
        assert json.loads(told["body"]) == {"title": title}
        assert shown.count(".approvals b") == 0
        assert world.engine.tickets == []
        world.engine.acts = [acts(world, title), FINAL]
        shown.page.evaluate("document.querySelector('.approvals .primary').focus()")
        shown.enter()
        shown.there(".answer", "It is open.")
        shown.answered(2)
        assert world.engine.tickets == [{"title": title}]
        shown.gone(".approvals")

        # The steps are folded, and are those of the API.
        assert shown.page.evaluate("[...document.querySelectorAll('.steps')].every((one) => !one.open)")
        steps = newest(world, shown)["headrace"]["steps"]
        assert shown.text(".steps summary").startswith("Steps")
        shown.page.evaluate("[...document.querySelectorAll('.steps summary')].at(-1).focus()")
        shown.enter()
        shown.page.until("[...document.querySelectorAll('.steps')].at(-1).open")
        shown.page.open(shown.page.evaluate("location.href"))
        shown.answered(2)
        shown.there(".steps summary", f"Steps ({len(steps)})")
        names = "[...document.querySelectorAll('article:last-of-type .steps li code')].map((one) => one.textContent)"
        assert shown.page.evaluate(names) == [step["name"] for step in steps if step.get("name")]
        shown.page.settle()
        assert shown.page.complaints == []


def test_a_call_that_is_not_allowed_is_not_made(world: World) -> None:
    world.engine.tickets.clear()
    world.engine.acts = [acts(world, "Never")]
    with world.page() as shown:
        clerk(shown)
        shown.ask("Open no ticket.")
        shown.there(".approvals")
        shown.answered()
        deny = "document.querySelector('.approvals button:not(.primary)')"
        shown.page.evaluate(f"{deny}.click()")
        shown.gone(".approvals")
        shown.there("[role=status]", "The calls are not made.")
        shown.page.settle()
        assert world.engine.tickets == []
        assert world.engine.acts == []
