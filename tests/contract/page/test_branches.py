"""A question is changed and an answer made again in branches, all of which stay reachable, also after a reload."""

from __future__ import annotations

from typing import Any

from tests.contract.page.world import Shown, World

ID = "location.pathname.slice(3)"


def talk(world: World, id: str) -> list[str]:
    """The texts of a conversation as the API tells them, the oldest first."""
    found: list[dict[str, Any]] = world.http.get(f"/v1/conversations/{id}/items?order=asc").json()["data"]
    return [item["content"][0]["text"] for item in found]


def read(shown: Shown) -> list[str]:
    texts = "[...document.querySelectorAll('.question > p, .answer .text')].map((one) => one.innerText.trim())"
    found: list[str] = shown.page.evaluate(texts)
    return found


def same(world: World, shown: Shown) -> str:
    """Compares what is shown with the API, and returns the conversation's id."""
    id: str = shown.page.evaluate(ID)
    assert read(shown) == talk(world, id)
    return id


def model(shown: Shown) -> None:
    shown.page.until("document.querySelector('.chooser select').value !== ''")
    shown.page.choose(".chooser select", "small")


def press(shown: Shown, button: str) -> None:
    """Presses a button of the dialog."""
    pressed = f"""(() => {{
      const found = [...document.querySelectorAll("dialog button")].find((one) => one.textContent === "{button}");
      found?.click();
      return !!found;
    }})()"""
    shown.page.until(pressed)


def change(shown: Shown, number: int, text: str) -> None:
    """Changes the question with this number, by keyboard."""
    shown.page.evaluate(f"document.querySelectorAll('.question')[{number}].querySelector('button').focus()")
    shown.enter()
    shown.page.until("document.activeElement.matches('.editor textarea')")
    shown.page.evaluate("document.activeElement.select()")
    shown.write(text)
    shown.enter()
    shown.there(".question > p", text)


def test_questions_are_changed_and_every_version_stays(world: World) -> None:
    with world.page() as shown:
        model(shown)
        shown.ask("First?")
        shown.answered()
        shown.ask("Second?")
        shown.answered(2)
        old = same(world, shown)

        change(shown, 1, "Second, in other words?")
        shown.answered(2)
        other = same(world, shown)
        assert other != old
        assert [line for line in talk(world, other) if line in talk(world, old)] == talk(world, old)[:2]
        shown.there(".versions", "Version 2 of 2")

        # Another answer to the same question is a third version of it.
        shown.click("[aria-label='Answer again, as another version']")
        shown.there(".versions", "Version 3 of 3")
        shown.answered(2)
        third = same(world, shown)

        change(shown, 0, "Another first?")
        shown.answered()
        shown.there(".versions", "Version 2 of 2")
        first = same(world, shown)
        assert len({old, other, third, first}) == 4
        assert len(talk(world, first)) == 2

        shown.click(".versions [aria-label='Earlier version']")
        shown.page.until(f"{ID} === '{old}'")
        shown.page.until("document.querySelectorAll('.versions').length === 2")
        same(world, shown)
        for there in (other, third):
            shown.click(".versions [aria-label='Later version']")
            shown.page.until(f"{ID} === '{there}'")
            shown.there(".versions", "Version")
            same(world, shown)
        assert shown.text("[role=status]") == "Version 3 of 3"
        shown.page.open(shown.page.evaluate("location.href"))
        shown.page.until("document.querySelectorAll('.versions').length === 2")
        assert same(world, shown) == third
        told = "[...document.querySelectorAll('.versions span')].map((one) => one.textContent)"
        assert shown.page.evaluate(told) == ["Version 1 of 2", "Version 3 of 3"]
        # All of them are one entry of the list, which is that of the version that is shown.
        listed = "[...document.querySelectorAll('.side li a')].map((one) => one.pathname.slice(3))"
        family = {old, other, third, first}
        assert [id for id in shown.page.evaluate(listed) if id in family] == [third]
        assert shown.page.evaluate("document.querySelector('.side a[aria-current=page]').pathname").endswith(third)
        title = shown.text(".side a[aria-current=page]")
        shown.click(f".side [aria-label='Change “{title}”']")
        press(shown, "Pin")
        shown.gone("dialog")
        pinned = world.http.get("/v1/conversations?pinned=true").json()["data"]
        assert {each["id"] for each in pinned} == family
        shown.click(f".side [aria-label='Change “{title}”']")
        press(shown, "Delete")
        shown.there("dialog", "messages and versions")
        press(shown, "Delete")
        shown.page.until("document.querySelectorAll('dialog .receipt').length === 4")
        left = {each["id"] for each in world.http.get("/v1/conversations?limit=100").json()["data"]}
        assert not left & family
        assert shown.page.evaluate("location.pathname") == "/"
        shown.page.settle()
        assert shown.page.complaints == []


def test_a_change_can_be_given_up_and_nothing_is_made(world: World) -> None:
    with world.page() as shown:
        shown.ask("Keep me?")
        shown.answered()
        before = len(world.http.get("/v1/conversations?limit=100").json()["data"])
        shown.click("[aria-label='Change the question']")
        shown.page.until("document.activeElement.matches('.editor textarea')")
        shown.write(" Not sent.")
        shown.page.press("Escape", 27)
        shown.gone(".editor")
        shown.there(".question > p", "Keep me?")
        assert len(world.http.get("/v1/conversations?limit=100").json()["data"]) == before


def test_a_version_that_cannot_be_made_is_said(world: World) -> None:
    with world.page() as shown:
        shown.ask("Gone?")
        shown.answered()
        assert world.http.delete(f"/v1/conversations/{shown.page.evaluate(ID)}").status_code == 200
        shown.click("[aria-label='Change the question']")
        shown.page.until("document.activeElement.matches('.editor textarea')")
        shown.enter()
        shown.there(".editor [role=alert]")


def test_a_version_whose_question_failed_leads_back_to_the_others(world: World) -> None:
    with world.page() as shown:
        model(shown)
        shown.ask("Whole?")
        shown.answered()
        whole = same(world, shown)
        shown.page.ask("Network.setBlockedURLs", urls=["*/v1/chat/completions"])
        change(shown, 0, "Broken?")
        shown.there(".answer .error")
        broken = shown.page.evaluate(ID)
        assert broken != whole
        shown.page.ask("Network.setBlockedURLs", urls=[])
        shown.page.open(shown.page.evaluate("location.href"))
        shown.there(".versions", "Version 2 of 2")
        shown.there(".side a[aria-current=page]", "Broken?")
        shown.click(".versions [aria-label='Earlier version']")
        shown.answered()
        assert same(world, shown) == whole


def test_a_conversation_has_its_title_before_its_first_answer(world: World) -> None:
    world.engine.says["Named at once"] = "word " * 200
    world.does("clear")
    try:
        with world.page() as shown:
            shown.ask("Named at once?")
            shown.there(".answer", "word")
            id = shown.page.evaluate(ID)
            shown.page.open(world.up.url)
            shown.there(f".side a[href='/c/{id}']", "Named at once?")
    finally:
        world.does("set")
