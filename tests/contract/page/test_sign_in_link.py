"""The link that `make up` prints opens the page, signs in, and leaves no code behind."""

from __future__ import annotations

import json

from tests.contract.page.world import Shown, World
from tools.stack.sign_in_link import sign_in_link

TAB = ("Tab", 9)


def test_a_link_leads_to_an_answer_and_is_used_up(world: World) -> None:
    link = sign_in_link(world.up.url, world.key)
    assert link is not None
    code = link.partition("=")[2]
    with world.browser.page() as page:
        shown = Shown(page)
        page.ask("Page.navigate", url=link)  # `open` would wait for an address that the page takes back at once
        shown.there(".greeting")
        assert page.evaluate("location.href") == f"{world.up.url}/"
        assert page.evaluate("history.length") <= 2
        assert page.evaluate("document.querySelector('#key')") is None
        me = page.evaluate("fetch('/v1/me').then((answer) => answer.json())")
        assert me["key_id"] == world.http.get("/v1/me").json()["key_id"]
        shown.ask("By link?")
        shown.answered()
        kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, document.body.innerHTML])"
        assert code not in page.evaluate(kept)
        assert [url for url in page.requests if code in url.partition("#")[0]] == []
        page.settle()
        assert page.complaints == []
    with world.browser.page() as page:
        shown = Shown(page)
        page.ask("Page.navigate", url=link)
        shown.there("[role=alert]", "was used before or has expired")
        page.evaluate("document.querySelector('#key').focus()")
        shown.write(world.key)
        shown.enter()
        shown.there(".greeting")
        shown.gone("[role=alert]")


def test_a_link_in_an_open_tab_signs_in_there(world: World) -> None:
    with world.browser.page() as page:
        shown = Shown(page)
        page.open(world.up.url)
        shown.there("#key")
        link = sign_in_link(world.up.url, world.key)
        page.evaluate(f"location.href = {json.dumps(link)}")
        shown.there(".greeting")
        assert page.evaluate("location.hash") == ""
