"""A conversation keeps what belongs to it: who answers, what is written in it, and how its answers were rated."""

from __future__ import annotations

import json

from tests.contract.page.test_files import drop
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


def written(shown: Shown, text: str) -> None:
    shown.page.until(f"document.querySelector('#message').value === {json.dumps(text)}")


def test_a_draft_stays_in_its_conversation_and_survives_a_reload(world: World) -> None:
    with world.page() as shown:
        shown.ask("First talk?")
        shown.answered()
        talk, path = shown.page.evaluate("[location.href, location.pathname]")
        shown.page.evaluate("document.querySelector('#message').focus()")
        shown.write("half a thought")
        drop(shown, ("kept.txt", "'Kept.'"), ("run.exe", "'MZ'"))
        shown.there("[role=status]", "kept.txt is attached.")
        shown.click(".new")
        shown.there(".greeting")
        written(shown, "")
        assert shown.count(".composer .file") == 0
        shown.page.evaluate("document.querySelector('#message').focus()")
        shown.write("another thought")
        shown.click(f".side li a[href='{path}']")
        written(shown, "half a thought")
        # What was refused stays too, with its reason.
        assert shown.count(".composer .file") == 2
        shown.there(".composer [role=alert]", "Files that end in .exe")
        shown.page.open(talk)
        shown.answered()
        written(shown, "half a thought")
        shown.there(".composer .file", "kept.txt")
        assert shown.count(".composer .file") == 1
        shown.page.evaluate("document.querySelector('#message').focus()")
        shown.enter()
        shown.answered(2)
        written(shown, "")
        shown.there(".question .file", "kept.txt")
        shown.page.open(world.up.url)
        written(shown, "another thought")
        shown.page.until(f"{CHOSEN} !== ''")
        assert shown.count(".composer .file") == 0
        shown.page.evaluate("document.querySelector('#message').focus()")
        shown.enter()
        shown.answered()
        shown.page.open(world.up.url)
        shown.there(".greeting")
        written(shown, "")
        assert "thought" not in shown.page.evaluate("JSON.stringify({ ...localStorage })")


def test_what_is_written_while_a_chat_begins_is_of_its_conversation(world: World) -> None:
    world.engine.says["Slow one"] = "word " * 200
    world.does("clear")
    try:
        with world.page() as shown:
            shown.ask("Slow one?")
            shown.write("and then")
            shown.there(".answer", "word")
            written(shown, "and then")
            shown.click(".new")
            written(shown, "")
            shown.page.evaluate("history.back()")
            shown.there(".answer", "word")
            written(shown, "and then")
    finally:
        world.does("set")


def test_drafts_go_with_who_signs_out(world: World) -> None:
    with world.page() as shown:
        shown.page.evaluate("document.querySelector('#message').focus()")
        shown.write("a secret thought")
        assert "secret" in shown.page.evaluate("JSON.stringify({ ...localStorage })")
        shown.click("[aria-label=Settings]")
        shown.click(".identity button")
        shown.there("h1", "Sign in to Headrace")
        assert "secret" not in shown.page.evaluate("JSON.stringify({ ...localStorage })")


def test_ratings_are_shown_after_a_reload_and_consent_is_asked_only_where_it_counts(world: World) -> None:
    pressed = "[...document.querySelectorAll('.actions [aria-pressed=true]')].map((one) => one.ariaLabel)"
    with world.page() as shown:
        shown.ask("Rate one?")
        shown.answered()
        shown.click("[aria-label='Good answer']")
        shown.there(".rating .hint", "cannot be used to train")
        shown.click(".rating [type=submit]")
        shown.gone(".rating")
        shown.ask("Rate two?")
        shown.answered(2)
        shown.page.open(shown.page.evaluate("location.href"))
        shown.answered(2)
        shown.page.until(f"{pressed}.length === 1")
        assert shown.page.evaluate(pressed) == ["Good answer"]
        assert shown.page.evaluate("document.querySelector('.actions [aria-pressed]').disabled")
        shown.click("[aria-label='Bad answer']")
        shown.there(".rating .hint", "cannot be used to train")
        assert shown.count(".rating [type=checkbox]") == 0
        shown.click("[aria-label=Settings]")
        shown.click(".settings input[type=checkbox]")
        shown.click(".settings [aria-label=Close]")
        shown.ask("Rate three?")
        shown.answered(3)
        shown.page.open(shown.page.evaluate("location.href"))
        shown.answered(3)
        shown.click("[aria-label='Bad answer']")
        shown.there(".rating [type=checkbox]")
