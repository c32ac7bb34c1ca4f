"""A person signs in, asks, reads, rates and comes back, in a real browser; and what goes wrong is said and survived."""

from __future__ import annotations

import json

import pytest

from tests.contract.page.world import DOCUMENT, HOSTILE_TITLE, QUOTE, Shown, World
from tests.wait import eventually

ANSWER = """The **sea** is deep. Nobody knows how deep.

1. one
2. two

| a | b |
| - | - |
| c | d |

```python
print("sea")
```

Last [link](https://example.com/x "t")."""
TAB, ESCAPE = ("Tab", 9), ("Escape", 27)
REQUESTS = 6
NODES = 6000
WINDOW = 200
UNSUPPORTED = "?"
"""The sign at the end of a sentence that no document supports."""
FOCUSED = "document.activeElement.id || document.activeElement.getAttribute('aria-label') || ''"


def items(world: World, id: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = world.http.get(f"/v1/conversations/{id}/items").json()["data"]
    return found


def test_from_the_key_to_a_cited_and_rated_answer_by_keyboard_alone(world: World) -> None:
    world.engine.says["How deep"] = ANSWER
    with world.browser.page() as page:
        shown = Shown(page)
        page.open(world.up.url)
        shown.there("h1", "Sign in to Headrace")
        page.evaluate("document.querySelector('#key').focus()")
        shown.write("hr_wrong")
        shown.enter()
        shown.there("#key-error", "unknown, expired or revoked")
        page.evaluate("document.querySelector('#key').select()")
        shown.write(world.key)
        shown.enter()
        shown.there(".chooser option", "docs")
        shown.there(".greeting", "Knows the <sea>.")
        assert page.evaluate(FOCUSED) == "message"
        shown.write("How deep is the sea?")
        shown.enter()
        shown.answered()
        assert shown.text(".answer .text strong") == "sea"
        assert shown.count(".answer li") == 3  # two of the list, and a source
        assert shown.text(".answer pre code") == 'print("sea")'
        assert shown.text(".answer td") == "c"
        assert shown.text("[role=status]") == "The answer is complete."
        assert page.evaluate("document.querySelector('.answer .text a').rel") == "noopener noreferrer nofollow"
        assert page.evaluate("location.pathname").startswith("/c/conv_")

        page.evaluate("document.querySelector('.mark').focus()")
        shown.enter()
        shown.there("aside mark", QUOTE)
        assert shown.text("aside mark") == QUOTE
        assert shown.text("aside blockquote") == DOCUMENT
        assert HOSTILE_TITLE.replace("\u202e", "\ufffd") in shown.text("aside h2")
        assert page.evaluate("document.querySelector('aside a').pathname").startswith("/v1/files/file-")
        page.press(*ESCAPE)
        shown.gone("aside")
        page.until(f"({FOCUSED}) === 'Source 1'")
        shown.there(".note", "No document supports one sentence")

        page.evaluate("document.querySelector('[aria-label=\"Good answer\"]').focus()")
        shown.enter()
        shown.there(".rating .hint", "cannot be used to train")
        page.until("document.activeElement.matches('.rating textarea')")
        shown.write("It was right.")
        page.press(*TAB)
        shown.enter()
        shown.there("[role=status]", "Thank you")
        [rated] = world.http.get("/v1/feedback").json()["data"]
        assert (rated["thumb"], rated["comment"], rated["consent"]) == ("up", "It was right.", False)
        assert rated["target"]["type"] == "response"
        world.http.delete(f"/v1/feedback/{rated['id']}")

        live = page.evaluate("document.querySelector('.answer .text').innerHTML")
        page.open(page.evaluate("location.href"))
        shown.answered()
        assert page.evaluate("document.querySelector('.answer .text').innerHTML") == live
        shown.there(".note", "No document supports one sentence")
        shown.click(".mark")
        shown.there("aside mark", QUOTE)
        page.settle()
        own = [url for url in page.requests if url.startswith(f"{world.up.url}/")]
        assert [url for url in page.requests if url not in own and not url.startswith("data:")] == []
        # A browser writes a refused request to the console by itself.
        assert [line for line in page.complaints if "401" not in line] == []
        assert page.evaluate("document.title") == "How deep is the sea? - Headrace"


def test_the_first_load_takes_few_requests(world: World) -> None:
    with world.page() as shown:
        shown.there(".chooser option", "docs")
        shown.page.settle()
        asked = [url for url in shown.page.requests if not url.startswith("data:")]
        assert len(asked) <= REQUESTS, asked
        assert len(set(asked)) == len(asked), "what the document asks for early is not asked for again"
        [script] = [url for url in asked if url.endswith(".js")]
        assert asked.index(f"{world.up.url}/auth/session") < asked.index(script)
        assert shown.count("*") < NODES


def test_consent_to_training_is_asked_for_beside_the_thumb(world: World) -> None:
    with world.page() as shown:
        shown.click("[aria-label=Settings]")
        shown.click(".settings input[type=checkbox]")
        shown.click(".settings [aria-label=Close]")
        shown.ask("Keep this.")
        shown.answered()
        shown.click("[aria-label='Bad answer']")
        shown.click(".rating input[type=checkbox]")
        shown.click(".rating [type=submit]")
        shown.there("[role=status]", "Thank you")
        [rated] = world.http.get("/v1/feedback").json()["data"]
        assert (rated["thumb"], rated["consent"]) == ("down", True)
        assert world.http.get(f"/v1/chat/completions/{rated['target']['id']}").status_code == 200
        world.http.delete(f"/v1/feedback/{rated['id']}")


def test_a_stopped_answer_is_kept_as_far_as_it_came(world: World) -> None:
    world.engine.says["Stop me"] = "first half. " * 20 + "second half. " * 20
    world.does("clear")
    try:
        with world.page() as shown:
            shown.ask("Stop me.")
            shown.there(".answer", "first half.")
            shown.click("[aria-label='Stop the answer']")
            shown.there(".answer .note", "You stopped this answer.")
            id = shown.page.evaluate("location.pathname.slice(3)")
            answer, question = eventually(lambda: items(world, id), "the turn is stored")
            assert (answer["status"], question["role"]) == ("incomplete", "user")
            assert "first half." in str(answer["content"])
            shown.page.open(shown.page.evaluate("location.href"))
            shown.there(".answer", "first half.")
    finally:
        world.does("set")


def test_a_lost_connection_loses_nothing_of_the_answer(world: World) -> None:
    text = " ".join(f"word{number}" for number in range(200))
    world.engine.says["Lose me"] = text
    world.does("clear")
    try:
        with world.wire() as (url, wire), world.page(url=url) as shown:
            shown.ask("Lose me.")
            for word in ("word50", "word80"):
                shown.there(".answer", word)
                world.up.loop.do(wire.cut())
                shown.there("[role=alert]", "Reconnecting")
            world.does("set")
            shown.answered()
            assert shown.text(".answer .text") == text + UNSUPPORTED
    finally:
        world.does("set")


def test_an_answer_goes_on_while_nobody_looks(world: World) -> None:
    text = " ".join(f"word{number}" for number in range(200))
    world.engine.says["Leave me"] = text
    world.does("clear")
    try:
        with world.page() as shown:
            shown.ask("Leave me.")
            shown.there(".answer", "word50")
            shown.click(".new")
            shown.there(".greeting")
            shown.ask("Something else?")
            shown.there(".answer", "Something")
            shown.click(".side li:last-of-type a" if shown.count(".side li") == 2 else ".side li:nth-of-type(2) a")
            shown.there(".answer", "word50")
            shown.page.ask("Page.reload")
            shown.page.until("!document.querySelector('.answer')")
            shown.there(".answer", "word50")
            world.does("set")
            shown.answered()
            assert shown.text(".answer .text") == text + UNSUPPORTED
            assert shown.count(".question") == 1
            id = shown.page.evaluate("location.pathname.slice(3)")
            assert id not in shown.page.evaluate("localStorage.getItem('headrace.streams') ?? ''")
    finally:
        world.does("set")


def test_an_engine_that_breaks_off_is_said_and_asked_again(world: World) -> None:
    world.engine.says["Break"] = "broken " * 60
    world.engine.half.clear()
    world.engine.cut = True
    try:
        with world.page() as shown:
            shown.ask("Break.")
            shown.there(".answer .error")
            shown.there("[role=status]", shown.text(".answer .error"))
            id = shown.page.evaluate("location.pathname.slice(3)")
            assert [item["status"] for item in items(world, id)] == ["incomplete", "completed"]
            world.engine.cut = False
            shown.click(".actions button.small")
            shown.page.until("document.querySelector('.answer .text').textContent.split('broken').length === 61")
            shown.answered()
            assert [item["status"] for item in items(world, id)] == ["completed", "completed"]
            assert shown.text(".answer .text").count("broken") == 60
            assert shown.count(".question") == 1
    finally:
        world.engine.cut = False


def test_an_ended_session_asks_for_the_key_and_loses_no_question(world: World) -> None:
    with world.page() as shown:
        shown.ask("Before.")
        shown.answered()
        token = shown.page.evaluate("fetch('/auth/session').then((a) => a.json()).then((s) => s.csrf_token)")
        ended = f"fetch('/auth/logout', {{method: 'POST', headers: {{'x-csrf-token': {json.dumps(token)}}}}})"
        assert shown.page.evaluate(f"{ended}.then((a) => a.status)") == 200
        shown.ask("And now?")
        shown.there("dialog[open]", "nothing that you wrote is lost")
        shown.page.evaluate("document.querySelector('#key').focus()")
        shown.write(world.key)
        shown.enter()
        shown.gone("dialog")
        shown.click(".actions button.small")
        shown.answered(2)
        shown.there(".answer", "Question: And now?")
        assert "Question: Before." in shown.text(".answer .text")


def test_the_mark_of_a_source_stands_at_its_sentence_whatever_ends_lines(world: World) -> None:
    world.engine.says["Lines"] = "One\r\n\r\n- two\r\n- three.\r\n\r\nFour five six."
    with world.page() as shown:
        shown.page.until("document.querySelector('.chooser select').value !== ''")
        shown.page.choose(".chooser select", "docs")
        shown.ask("Lines?")
        shown.answered()
        assert shown.text(".answer .text").replace("\n", "") == "Onetwothree.1Four five six.?"


def test_models_that_cannot_be_listed_are_said_and_asked_for_again(world: World) -> None:
    with world.page() as shown:
        shown.page.ask("Network.setBlockedURLs", urls=["*/v1/models"])
        shown.page.open(world.up.url)
        shown.there(".composer [role=alert]", "The server cannot be reached.")
        shown.page.ask("Network.setBlockedURLs", urls=[])
        shown.click(".composer [role=alert] button")
        shown.gone(".composer [role=alert]")
        shown.ask("There again?")
        shown.answered()


def test_a_long_conversation_draws_a_window_of_messages(world: World) -> None:
    id = world.http.post("/v1/conversations", json={}).json()["id"]
    for first in range(0, 320, 20):
        turn = [{"role": ("user", "assistant")[n % 2], "content": f"message {n}."} for n in range(first, first + 20)]
        assert world.http.post(f"/v1/conversations/{id}/items", json={"items": turn}).status_code == 200
    with world.page(f"/c/{id}") as shown:
        shown.there(".answer", "message 319.")
        for _ in range(4):
            before = shown.text("article")
            shown.click(".quiet")
            shown.page.until(f"document.querySelector('article').textContent !== {json.dumps(before)}")
            assert shown.count("article") <= WINDOW
        shown.click("[aria-label='Go to the newest message']")
        shown.there(".answer", "message 319.")
        assert shown.count("article") <= WINDOW
        assert shown.count("*") < NODES


@pytest.mark.parametrize("path", ["/c/conv_unknown", "/c/conv_%00"])
def test_somebody_elses_conversation_is_none(world: World, path: str) -> None:
    with world.page(path) as shown:
        shown.there("h1" if "%" in path else "[role=alert]", "" if "%" in path else "does not exist")


def test_arabic_is_read_from_right_to_left(world: World) -> None:
    with world.page() as shown:
        shown.click("[aria-label=Settings]")
        shown.page.choose("#language", "ar")
        shown.there("#settings", "الإعدادات")
        assert shown.page.evaluate("[document.documentElement.dir, document.documentElement.lang]") == ["rtl", "ar"]
        shown.page.open(world.up.url)
        shown.there("h2", "ماذا تود أن تعرف؟")
        assert shown.page.evaluate("document.querySelector('.side').getBoundingClientRect().right > innerWidth - 2")


def test_a_page_without_storage_works(world: World) -> None:
    with world.page() as shown:
        block = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('blocked'); } })"
        shown.page.ask("Page.addScriptToEvaluateOnNewDocument", source=block)
        shown.page.open(world.up.url)
        shown.there("#message")
        shown.ask("Without storage?")
        shown.answered()
        shown.there(".answer", "Without storage?")


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_the_question_stays_at_the_top_while_its_answer_comes(world: World, width: int, height: int) -> None:
    world.engine.says["Long one"] = "\n\n".join(f"Paragraph {n} of a long answer about the sea." for n in range(60))
    top = """(() => {
      const at = (name) => [...document.querySelectorAll(name)].at(-1).getBoundingClientRect().top;
      const view = document.querySelector(".thread").getBoundingClientRect();
      return [at(".question") - view.top, at(".answer") - view.top, view.height];
    })()"""
    with world.page(width=width, height=height) as shown:
        shown.ask("Short one?")
        shown.answered()
        world.does("clear")
        try:
            shown.ask("Long one?")
            shown.there(".answer", "Paragraph 20")
            question, answer, view = shown.page.evaluate(top)
            assert 0 <= question < 40 < answer < view
            world.does("set")
            shown.answered(2)
        finally:
            world.does("set")
        assert shown.page.evaluate(top)[:2] == [question, answer]
        assert answer < view - 100
        # A short one as well: the room below it is made.
        shown.ask("Another short one?")
        shown.answered(3)
        assert abs(shown.page.evaluate(top)[0] - question) < 2
        # The end is followed by who goes there.
        shown.page.evaluate("document.querySelector('.thread').scrollTo(0, 0)")
        shown.click("[aria-label='Go to the newest message']")
        shown.gone("[aria-label='Go to the newest message']")
        # Opened again, the newest question is in view.
        shown.page.open(shown.page.evaluate("location.href"))
        shown.answered(3)
        question, answer, view = shown.page.evaluate(top)
        assert 0 <= question < answer < view


def test_a_very_long_question_leaves_half_of_the_view_to_its_answer(world: World) -> None:
    with world.page() as shown:
        shown.ask("One line of many. " * 800)
        shown.answered()
        top = "document.querySelector('.answer').getBoundingClientRect().top"
        view = shown.page.evaluate("document.querySelector('.thread').clientHeight")
        assert view / 3 < shown.page.evaluate(top) < view * 2 / 3
