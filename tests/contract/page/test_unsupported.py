"""Sentences that no document supports are marked where the API says that they end, live and after a reload."""

from __future__ import annotations

import re
from typing import Any

from tests.contract.page.world import Shown, World

ANSWER = "The sea is deep. Nobody\u2045 knows 😀 **how deep.** And more.\r\n\r\n- a point\r\n"
CODE = "The sea is deep. Run:\n\n```sh\nmake up.\n```\n\nDone"
# What is read before each sign, back to the sentence before.
MARKED = """[...document.querySelectorAll('.answer .text .unsupported')].map((sign) => {
  const range = document.createRange();
  range.setStart(sign.closest('.text'), 0);
  range.setEndBefore(sign);
  return range.toString();
})"""


def truth(world: World, shown: Shown) -> list[str]:
    """The unsupported sentences of the newest answer, as the API tells them, without Markdown's signs."""
    id = shown.page.evaluate("location.pathname.slice(3)")
    found: dict[str, Any] = world.http.get(f"/v1/conversations/{id}/items?include=headrace").json()["data"][0]
    text = found["content"][0]["text"]
    spans = found["headrace"]["unsupported"]
    return [re.sub(r"[*\u2045]", "", text[span["start_index"] : span["end_index"]]).strip() for span in spans]


def check(world: World, shown: Shown) -> None:
    shown.page.until("document.querySelectorAll('.answer .text .unsupported').length === 1")
    [read] = shown.page.evaluate(MARKED)
    [told] = truth(world, shown)
    assert read.replace("[", "").endswith(told), (read, told)
    sign = "document.querySelector('.text .unsupported')"
    assert shown.page.evaluate(f"[{sign}.textContent, {sign}.getAttribute('role'), {sign}.ariaLabel]") == [
        "?",
        "img",
        "No document supports this sentence",
    ]
    shown.there(".note", "No document supports one sentence")


def test_the_mark_follows_the_sentence_and_survives_a_reload(world: World) -> None:
    world.engine.says["Unsupported"] = ANSWER
    with world.page() as shown:
        shown.ask("Unsupported?")
        shown.answered()
        check(world, shown)
        live = shown.page.evaluate("document.querySelector('.answer .text').innerHTML")
        shown.page.open(shown.page.evaluate("location.href"))
        shown.answered()
        check(world, shown)
        assert shown.page.evaluate("document.querySelector('.answer .text').innerHTML") == live


def test_in_code_the_mark_changes_nothing_and_follows_it(world: World) -> None:
    world.engine.says["Coded"] = CODE
    with world.page() as shown:
        shown.ask("Coded?")
        shown.answered()
        assert shown.text(".answer pre code") == "make up."
        assert shown.count(".answer pre .unsupported") == 0
        after = "document.querySelector('.text .unsupported').compareDocumentPosition(document.querySelector('pre'))"
        assert shown.page.evaluate(after) == 2  # the code precedes the sign


def test_a_copied_answer_has_no_marks(world: World) -> None:
    world.engine.says["Copied"] = "The sea is deep. Nobody knows."
    with world.page() as shown:
        written = "navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }; true"
        shown.ask("Copied?")
        shown.answered()
        shown.page.evaluate(written)
        shown.click(".actions [aria-label='Copy the answer']")
        shown.page.until("window.copied === 'The sea is deep. Nobody knows.'")
