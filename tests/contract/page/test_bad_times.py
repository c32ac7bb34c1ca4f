"""A wrong clock, a huge answer, a closed tab and a gateway that dies: nothing is lost without a word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from serving.security.keys import new_key
from tests.contract.campaigns.test_kills import Replica
from tests.contract.page.test_chat import UNSUPPORTED
from tests.contract.page.world import Shown, World
from tests.servers.process import held_port
from tests.store import migrated
from tests.wait import eventually

DAY_MS = 86_400_000
CLOCK = """(() => {
  const Right = Date;
  globalThis.Date = class extends Right {
    constructor(...given) { super(...(given.length ? given : [Right.now() + %d])); }
    static now() { return Right.now() + %d; }
  };
})()"""
TEN_MB = 10 << 20
WORDS = " ".join(f"word{number}" for number in range(200))


@pytest.mark.parametrize("off", [-DAY_MS, DAY_MS])
def test_a_clock_that_is_off_by_a_day_changes_nothing(world: World, off: int) -> None:
    with world.page() as shown:
        shown.page.ask("Page.addScriptToEvaluateOnNewDocument", source=CLOCK % (off, off))
        shown.page.open(world.up.url)
        now = world.http.get("/v1/me").headers["date"]
        ahead = shown.page.evaluate(f"Date.now() - Date.parse({json.dumps(now)})")
        assert abs(ahead - off) < DAY_MS / 2
        shown.there("#message")
        shown.ask("What time is it?")
        shown.answered()
        shown.click("[aria-label='Good answer']")
        shown.click(".rating [type=submit]")
        shown.there("[role=status]", "Thank you")
        shown.page.open(shown.page.evaluate("location.href"))
        shown.answered()
        shown.there(".side li a", "What time is it?")
        [rated] = world.http.get("/v1/feedback").json()["data"]
        world.http.delete(f"/v1/feedback/{rated['id']}").raise_for_status()
        shown.page.settle()
        assert shown.page.complaints == []


def test_an_answer_of_10_mb_is_shown_whole(world: World) -> None:
    sentence = "The sea is deep and wide, and nobody knows its end. "
    text = (sentence * 20 + "\n\n") * (TEN_MB // (20 * len(sentence) + 2) + 1)
    assert len(text) > TEN_MB
    world.engine.says["without an end"] = text
    with world.page() as shown:
        shown.page.until("document.querySelector('.chooser select').value !== ''")
        shown.page.choose(".chooser select", "small")
        shown.ask("Tell me without an end.")
        shown.answered()
        count = "document.querySelector('.answer .text').textContent.split('nobody knows').length - 1"
        assert shown.page.evaluate(count) == text.count("nobody knows")
        shown.ask("Still there?")
        shown.answered(2)
        shown.there(".answer", "Still there?")


def test_a_tab_that_is_closed_during_an_answer_finds_it_whole(world: World) -> None:
    world.engine.says["Close me"] = WORDS
    world.engine.half.clear()
    world.does("clear")
    try:
        with world.page() as shown:
            shown.ask("Close me.")
            shown.there(".answer", "word50")
            address = shown.page.evaluate("location.href")
            shown.page.close()
            again = Shown(shown.page.another())
            again.page.open(address)
            again.there(".answer", "word50")
            world.does("set")
            again.answered()
            assert again.text(".answer .text") == WORDS + UNSUPPORTED
            assert again.count(".question") == 1
    finally:
        world.does("set")


def test_a_gateway_that_is_killed_during_an_answer_loses_nothing_unsaid(world: World, tmp_path: Path) -> None:
    world.engine.says["Kill it"] = WORDS
    world.engine.half.clear()
    key = new_key()
    (tmp_path / "hash").write_text("h" * 40)
    (tmp_path / "key").write_text(key)
    (tmp_path / "metrics").mkdir()
    database = f"sqlite:///{tmp_path / 'h.db'}"
    migrated.sqlite_at(database)
    world.does("clear")
    port = world.engine.url.rpartition(":")[2]
    with held_port() as own:
        replica = Replica(database, str(tmp_path), port, port=own)
        try:
            eventually(replica.answers, "the gateway answers")
            with world.browser.page() as page:
                page.open(replica.url)
                shown = Shown(page)
                shown.there("#key")
                page.evaluate("document.querySelector('#key').focus()")
                shown.write(key)
                shown.enter()
                shown.there(".greeting")
                shown.ask("Kill it.")
                shown.there(".answer", "word50")
                replica.kill()
                shown.there("[role=alert]", "Reconnecting")
                world.does("set")
                eventually(replica.answers, "another gateway answers in its place")
                shown.there(".answer .error", "The connection was lost, and the rest of this answer with it.")
                assert "word50" in shown.text(".answer .text")
                shown.there("[role=status]", "The connection was lost")
                shown.click(".actions button.small")
                page.until(f"document.querySelector('.answer .text').textContent === {json.dumps(WORDS)}")
                assert shown.count(".question") == 1
        finally:
            world.does("set")
            replica.kill()
