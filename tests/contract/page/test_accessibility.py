"""axe finds nothing on the page, in each state of it: light and dark, on a desktop and a phone, in both directions."""

from __future__ import annotations

import pytest

from tests.contract.page.test_approvals import acts
from tests.contract.page.test_files import drop
from tests.contract.page.world import Shown, World

WHOLE = """The **sea** is deep. See [a page](https://example.com).

## A heading

1. one
   - [x] two

> quoted `code`

| a | b |
| - | -: |
| c | d |

```sh
make up
```

![a](https://example.com/a.png)
"""
RUN = """axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations.map(
  ({ id, nodes }) => `${id}: ${nodes.map(({ html, any }) => html + " " + any.map((each) => each.message)).join("; ")}`,
))"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def clean(shown: Shown, axe: str) -> None:
    if not shown.page.evaluate("'axe' in window"):
        shown.page.evaluate(f"{axe}; true")
    assert shown.page.evaluate(RUN) == []
    assert shown.page.evaluate(OVERFLOW) == 0


@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 1280)])
def test_the_sign_in_form_is_accessible(world: World, axe: str, scheme: str, width: int) -> None:
    with world.browser.page(width, 800, scheme) as page:
        page.open(world.up.url)
        shown = Shown(page)
        shown.there("form")
        clean(shown, axe)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_an_answer_with_everything_open(world: World, axe: str, scheme: str, width: int) -> None:
    world.engine.says["Everything"] = WHOLE
    with world.page(width=width, scheme=scheme) as shown:
        shown.ask("Everything?")
        shown.answered()
        shown.click("[aria-label='Bad answer']")
        shown.there(".rating textarea")
        clean(shown, axe)
        shown.click(".mark")
        shown.there("aside figure")
        clean(shown, axe)


@pytest.mark.parametrize(("scheme", "width"), [("dark", 360), ("light", 1280)])
def test_settings_and_the_list_in_arabic(world: World, axe: str, scheme: str, width: int) -> None:
    with world.page(width=width, scheme=scheme) as shown:
        shown.click("[aria-label=Settings]")
        shown.page.choose("#language", "ar")
        shown.there("#settings", "الإعدادات")
        clean(shown, axe)
        shown.click(".settings .buttons button:first-child")
        shown.there(".own p", "لا يتذكر أي مساعد شيئًا عنك.")
        clean(shown, axe)
        shown.click(".own .panel-head button")
        shown.gone("dialog")
        if width == 1280:
            shown.click(".side li button")
            clean(shown, axe)
            shown.page.press("Escape", 27)
            shown.gone("dialog")
        if width == 360:
            shown.click("header .narrow")
            shown.there(".side.open")
        clean(shown, axe)


@pytest.mark.parametrize(("scheme", "width", "language"), [("light", 360, "ar"), ("dark", 1280, "en")])
def test_starters_files_changes_and_calls(world: World, axe: str, scheme: str, width: int, language: str) -> None:
    with world.page(width=width, scheme=scheme) as shown:
        shown.page.evaluate(f"localStorage.setItem('headrace.language', '{language}')")
        shown.page.open(world.up.url)
        shown.there(".chooser select")
        shown.page.until("document.querySelector('.chooser select').value !== ''")
        shown.page.choose(".chooser select", "keeper")
        shown.there(".starters button")
        clean(shown, axe)
        drop(shown, ("one.txt", "'One.'"), ("run.exe", "'MZ'"))
        shown.there(".composer [role=alert]")
        shown.page.until("!document.querySelector('.composer progress')")
        clean(shown, axe)
        shown.ask("What is in it?")
        shown.answered()
        shown.click(".question footer button")
        shown.there(".editor")
        clean(shown, axe)
        shown.enter()
        shown.there(".versions")
        shown.answered()
        clean(shown, axe)
        world.engine.acts = [acts(world, "Read me")]
        shown.page.choose(".chooser select", "clerk")
        shown.ask("Open a ticket.")
        shown.there(".approvals")
        shown.answered(2)
        shown.click(".steps summary")
        clean(shown, axe)
