"""axe finds nothing on the page, in each state: light and dark, on a desktop and a phone, in both directions."""

from __future__ import annotations

import json
import re

import pytest

from tests.contract.page.sources import UI
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
SCHEMES = ("light", "dark")

layouts = pytest.mark.parametrize(
    ("width", "language"),
    [
        (360, "en"),
        (1280, "ar"),
        *(pytest.param(*layout, marks=pytest.mark.full) for layout in ((360, "ar"), (1280, "en"))),
    ],
)


def clean(shown: Shown, axe: str) -> None:
    """Looks at what is shown, light and dark."""
    if not shown.page.evaluate("'axe' in window"):
        shown.page.evaluate(f"{axe}; true")
    direction = "rtl" if shown.page.evaluate("document.documentElement.lang") == "ar" else "ltr"
    assert shown.page.evaluate("document.documentElement.dir || 'ltr'") == direction
    for scheme in SCHEMES:
        shown.page.prefer(scheme)
        assert shown.page.evaluate(RUN) == [], scheme
    assert shown.page.evaluate(OVERFLOW) == 0


def texts(language: str, page: str = "") -> dict[str, str]:
    """The texts of the chat, or of the `console`, in a language, by the names that the sources give them."""
    source = UI / "src" / "i18n" / page / f"{language}.ts"
    found = re.findall(r'^  (\w+): "(.*)",$', source.read_text(), re.MULTILINE)
    assert len(found) > 100
    return dict(found)


def press(shown: Shown, within: str, text: str) -> None:
    """Presses the button with a text, once it is there and can be pressed."""
    pressed = f"""(() => {{
      const found = [...document.querySelectorAll("{within} button:not(:disabled)")]
        .find((one) => one.textContent === {json.dumps(text)});
      found?.click();
      return !!found;
    }})()"""
    shown.page.until(pressed, lambda: shown.page.evaluate("document.body.innerText"))


@layouts
def test_the_sign_in_form(world: World, axe: str, width: int, language: str) -> None:
    with world.browser.page(width, 800) as page:
        page.speak(language)
        page.open(world.up.url)
        shown = Shown(page)
        shown.there("form")
        clean(shown, axe)
        page.evaluate("document.querySelector('#key').focus()")
        shown.write("hr_wrong")
        shown.enter()
        shown.there("#key-error", texts(language)["wrongKey"])
        clean(shown, axe)


@layouts
def test_an_answer_with_everything_open(world: World, axe: str, width: int, language: str) -> None:
    world.engine.says["Everything"] = WHOLE
    said = texts(language)
    with world.page(width=width, language=language) as shown:
        clean(shown, axe)
        shown.ask("Everything?")
        shown.answered()
        shown.click(f"[aria-label='{said['bad']}']")
        shown.there(".rating textarea")
        clean(shown, axe)
        shown.click(".mark")
        shown.there("aside figure")
        clean(shown, axe)


@layouts
def test_settings_and_what_is_ones_own(world: World, axe: str, width: int, language: str) -> None:
    said = texts(language)
    with world.page(width=width, language=language) as shown:
        shown.click(f"[aria-label='{said['settings']}']")
        shown.there("#settings")
        clean(shown, axe)
        press(shown, "dialog", said["memories"])
        shown.there(".own p", said["noMemories"])
        clean(shown, axe)
        shown.click(".own .panel-head button")
        shown.gone("dialog")
        shown.click(f"[aria-label='{said['settings']}']")
        press(shown, "dialog", said["usage"])
        shown.there(".own h3")
        clean(shown, axe)
        shown.click(".own .panel-head button")
        shown.gone("dialog")
        made = world.http.post("/v1/conversations", json={}).json()["id"]
        assert world.http.delete(f"/v1/conversations/{made}").status_code == 200
        shown.click(f"[aria-label='{said['settings']}']")
        press(shown, "dialog", said["deletions"])
        shown.there(".receipt", made)
        press(shown, "dialog", said["deleteAll"])
        shown.there(".own p", said["confirmDeleteAll"])
        clean(shown, axe)


@layouts
def test_the_list_and_its_dialogs(world: World, axe: str, width: int, language: str) -> None:
    said = texts(language)
    with world.page(width=width, language=language) as shown:
        shown.ask("What is listed?")
        shown.answered()
        if width == 360:
            shown.click("header .narrow")
            shown.there(".side.open")
        clean(shown, axe)
        shown.click(".side li button")
        shown.there("dialog #title")
        clean(shown, axe)
        press(shown, "dialog", said["delete"])
        shown.there("dialog", said["confirmDelete"])
        clean(shown, axe)
        press(shown, "dialog", said["cancel"])
        shown.gone("dialog")
        shown.click(".side li button")
        press(shown, "dialog", said["share"])
        press(shown, "dialog", said["createLink"])
        shown.there("dialog .links li")
        clean(shown, axe)


@layouts
def test_starters_files_changes_and_calls(world: World, axe: str, width: int, language: str) -> None:
    with world.page(width=width, language=language) as shown:
        shown.there(".chooser select")
        shown.page.until("document.querySelector('.chooser select').value !== ''")
        shown.page.choose(".chooser select", "keeper")
        shown.there(".starters button")
        clean(shown, axe)
        drop(shown, ("one.txt", "'One.'"), ("run.exe", "'MZ'"))
        shown.there(".composer [role=alert]")
        shown.page.until("!document.querySelector('.composer progress')")
        clean(shown, axe)
        shown.click(".composer .refused button")
        shown.gone(".composer .refused")
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


@layouts
def test_what_goes_wrong(world: World, axe: str, width: int, language: str) -> None:
    """An answer that writes, one that breaks off, no connection, a conversation of nobody, and an ended session."""
    said = texts(language)
    world.engine.says["Break"] = "broken " * 60
    world.engine.half.clear()
    world.engine.cut = True
    world.does("clear")
    try:
        with world.wire() as (url, wire), world.page(url=url, width=width, language=language) as shown:
            shown.ask("Break.")
            shown.there(".answer", "broken")
            clean(shown, axe)
            shown.page.ask("Network.setBlockedURLs", urls=["*/v1/streams/*"])
            world.up.loop.do(wire.cut())
            shown.there("[role=alert]", said["reconnecting"])
            clean(shown, axe)
            shown.page.ask("Network.setBlockedURLs", urls=[])
            world.does("set")
            shown.there(".answer .error")
            clean(shown, axe)
            shown.page.open(f"{url}/c/conv_unknown")
            shown.there("[role=alert]", said["notFound"])
            clean(shown, axe)
            token = shown.page.evaluate("fetch('/auth/session').then((a) => a.json()).then((s) => s.csrf_token)")
            ended = f"fetch('/auth/logout', {{method: 'POST', headers: {{'x-csrf-token': {json.dumps(token)}}}}})"
            assert shown.page.evaluate(f"{ended}.then((a) => a.status)") == 200
            shown.ask("And now?")
            shown.there("dialog[open]", said["expired"])
            clean(shown, axe)
    finally:
        world.does("set")
        world.engine.cut = False
