"""Somebody who never saw the page comes from the printed link to a cited and rated answer in few actions."""

from __future__ import annotations

import json

from tests.contract.page.world import Shown, World
from tests.servers.browser import Page
from tools.stack.sign_in_link import sign_in_link

MOST_ACTIONS = 4
PLACE = """(() => {
  const found = document.querySelector(%s);
  if (!found || found.disabled) return null;
  found.scrollIntoView({ block: "center" });
  const { x, y, width, height } = found.getBoundingClientRect();
  const at = [x + width / 2, y + height / 2];
  return found.contains(document.elementFromPoint(...at)) ? at : null;
})()"""


class Person:
    """Does what a person can do with a mouse and a keyboard, and counts it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.actions: list[str] = []

    def follow(self, link: str) -> None:
        self.actions.append("follows the link")
        self.page.ask("Page.navigate", url=link)

    def ask(self, question: str) -> None:
        """Types into whatever has the focus, and presses Enter."""
        self.actions.append("asks")
        self.page.ask("Input.insertText", text=question)
        self.page.press("Enter", 13, "\r")

    def click(self, selector: str) -> None:
        """Presses the mouse where an element is seen."""
        self.actions.append(f"clicks {selector}")
        place = PLACE % json.dumps(selector)
        self.page.until(f"!!{place}", lambda: self.page.evaluate("document.body.innerText"))
        x, y = self.page.evaluate(place)
        for kind in ("mousePressed", "mouseReleased"):
            self.page.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def test_four_actions_lead_from_the_link_to_a_cited_and_rated_answer(world: World) -> None:
    world.engine.says["How deep is the first sea"] = "The sea is deep."
    link = sign_in_link(world.up.url, world.key)
    assert link is not None
    with world.browser.page() as page:
        shown, person = Shown(page), Person(page)
        person.follow(link)
        shown.there(".greeting")
        page.until("document.querySelector('.chooser select').value !== ''")
        page.until("document.activeElement.id === 'message'")
        person.ask("How deep is the first sea?")
        shown.answered()
        assert shown.text(".answer .mark") == "1"
        assert shown.count(".answer .sources li") == 1
        person.click("[aria-label='Good answer']")
        shown.there(".rating")
        person.click(".rating [type=submit]")
        shown.there("[role=status]", "Thank you")
        assert len(person.actions) <= MOST_ACTIONS, person.actions
        [rated] = world.http.get("/v1/feedback").json()["data"]
        assert rated["thumb"] == "up"
        world.http.delete(f"/v1/feedback/{rated['id']}").raise_for_status()
        page.settle()
        assert [line for line in page.complaints if "401" not in line] == []
