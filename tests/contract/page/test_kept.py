"""A conversation keeps what belongs to it: who answers, what is written in it, and how its answers were rated."""

from __future__ import annotations

from tests.contract.page.world import Shown, World

CHOSEN = "document.querySelector('.chooser select').value"


def choose(shown: Shown, model: str) -> None:
    shown.page.until(f"{CHOSEN} !== ''")
    shown.page.choose(".chooser select", model)


def test_a_conversation_keeps_its_model_and_each_answer_names_it(world: World) -> None:
    with world.page() as shown:
        choose(shown, "small")
        shown.ask("Who are you?")
        shown.answered()
        assert shown.text(".answer h2") == "small"
        first = shown.page.evaluate("location.href")
        shown.click(".new")
        shown.there(".greeting")
        choose(shown, "docs")
        shown.ask("And you?")
        shown.answered()
        assert shown.text(".answer h2") == "docs"
        second = shown.page.evaluate("location.href")
        for address, model in ((first, "small"), (second, "docs"), (first, "small")):
            shown.page.open(address)
            shown.answered()
            shown.page.until(f"{CHOSEN} === '{model}'")
            assert shown.text(".answer h2") == model
        # Another choice is for this conversation alone.
        choose(shown, "keeper")
        shown.ask("And now?")
        shown.answered(2)
        shown.click(".new")
        shown.page.until(f"{CHOSEN} === 'docs'")
        shown.page.open(first)
        shown.answered(2)
        shown.page.until(f"{CHOSEN} === 'keeper'")
        names = "[...document.querySelectorAll('.answer h2')].map((one) => one.textContent)"
        assert shown.page.evaluate(names) == ["small", "keeper"]
