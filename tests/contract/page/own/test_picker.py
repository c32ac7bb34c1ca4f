"""The picker says what each assistant is for, and a new chat says of a model that it only quotes documents."""

from __future__ import annotations

import pytest

from serving.core.principal import Principal, Role
from tests.callers.identity import key_of
from tests.contract.page.test_accessibility import clean, layouts, texts
from tests.contract.page.world import World

COMMAND = "make up MODEL=list"


@pytest.mark.parametrize(("role", "commands"), [("user", []), ("admin", [COMMAND])])
def test_a_model_that_only_quotes_says_so_until_another_is_chosen(
    world: World, role: Role, commands: list[str]
) -> None:
    key = world.up.loop.do(key_of(world.up.services, Principal("acme", f"picks-as-{role}", ""), role=role))
    own = World(world.up, world.engine, world.browser, key)
    listed = {each["id"]: each["headrace"] for each in own.http.get("/v1/models").json()["data"]}
    assert [name for name, headrace in listed.items() if headrace.get("quotes")] == ["tiny"]
    with own.page() as shown:
        shown.page.until("document.querySelector('.chooser select').value === 'docs'")
        shown.there(".greeting")
        assert "only quotes" not in shown.text(".greeting")
        shown.page.choose(".chooser select", "tiny")
        shown.there(".greeting .hint", "This model only quotes documents.")
        codes = "[...document.querySelectorAll('.greeting code')].map((one) => one.textContent)"
        assert shown.page.evaluate(codes) == commands
        shown.page.choose(".chooser select", "docs")
        shown.gone(".greeting .hint")
    own.http.close()


@layouts
def test_the_open_picker_shows_descriptions(world: World, axe: str, width: int, language: str) -> None:
    with world.page(width=width, language=language) as shown:
        shown.page.until("document.querySelector('.chooser select').value === 'docs'")
        at = shown.page.evaluate(
            "(() => { const box = document.querySelector('.chooser select').getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            shown.page.ask("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", clickCount=1)
        shown.page.until("document.querySelector('.chooser select').matches(':open')")
        seen = "[...document.querySelectorAll('.chooser option .about')].map((one) => one.innerText)"
        assert "Knows the <sea>." in shown.page.evaluate(seen)
        about = "document.querySelector('.chooser selectedcontent').innerText"
        assert shown.page.evaluate(about) == "docs", "the closed picker has the name alone"
        clean(shown, axe)
        shown.page.press("Escape", 27)
        shown.page.choose(".chooser select", "tiny")
        shown.there(".greeting .hint", texts(language)["onlyQuotes"])
        clean(shown, axe)
