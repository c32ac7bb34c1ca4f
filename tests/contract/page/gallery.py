"""`python -m tests.contract.page.gallery`: draws every page into docs/images/pages, in a real browser.

Each picture has a page four times: on a desktop and on a phone, light and dark. Names and numbers are made up.
"""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from serving.config import Assistant, Catalog, FactsMemory, PrometheusServer, RemoteModel, Tuning
from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.monitoring.loaded import loaded
from tests.contract.page.console.operated import Operated, catalog, scripted, settled
from tests.contract.page.console.test_views import LISTS, OTHERS
from tests.contract.page.screenshots import ANSWER, DOCUMENT, QUESTION, Documents
from tests.contract.page.world import Engine, Shown, World
from tests.contract.running import Loop, engine, gateway
from tests.servers.browser import Chromium
from tests.wait import eventually

FOLDER = Path(__file__).parents[3] / "docs" / "images" / "pages"
DESKTOP, PHONE = (1280, 800), (390, 844)
LOOKS = tuple((size, scheme) for size in (DESKTOP, PHONE) for scheme in ("light", "dark"))
HEIGHT, GAP, QUALITY = 520, 12, 60
"""Of a picture: pixels of each page's height and between two, and what WebP keeps of it, of 100."""
STARTERS = ("How do I upgrade a stack?", "Which ports does a stack open?")
FACTS = ("Works on the deployment team.", "Prefers answers with commands.")


def draw(name: str, shown: Shown) -> None:
    """Draws what is shown, in each look."""
    parts = []
    for (width, height), scheme in LOOKS:
        shown.page.size(width, height)
        shown.page.prefer(scheme)
        shown.page.settle()
        shot = base64.b64decode(shown.page.ask("Page.captureScreenshot", format="png")["data"])
        with Image.open(io.BytesIO(shot)) as whole:
            parts.append(whole.convert("RGB").resize((width * HEIGHT // height, HEIGHT), Image.Resampling.LANCZOS))
    sheet = Image.new("RGB", (sum(each.width + GAP for each in parts) - GAP, HEIGHT), "white")
    left = 0
    for part in parts:
        sheet.paste(part, (left, 0))
        left += part.width + GAP
    FOLDER.mkdir(exist_ok=True)
    sheet.save(FOLDER / f"{name}.webp", "WEBP", quality=QUALITY, method=6)


def chat(world: World) -> None:
    """Draws what a person sees."""
    with world.browser.page(*DESKTOP) as page:
        page.open(f"{world.up.url}/")
        draw("sign-in", Shown(page))
    with world.page("/", *DESKTOP) as shown:
        draw("start", shown)
        shown.page.evaluate("document.querySelector('#message').focus()")
        shown.write("/")
        shown.there("[role=option]")
        draw("prompts", shown)
    with world.page("/", *DESKTOP) as shown:
        shown.ask(QUESTION)
        shown.answered()
        shown.page.evaluate("document.activeElement.blur(); document.querySelector('.thread').scrollTo(0, 0)")
        draw("chat", shown)
        shown.click(".mark")
        shown.there("aside mark")
        draw("passage", shown)
    with world.page("/", *DESKTOP) as shown:
        shown.click("[aria-label=Settings]")
        shown.there("dialog[open]")
        draw("settings", shown)
    for name, button in (("memories", "What assistants remember"), ("deletions", "What you deleted")):
        with world.page("/", *DESKTOP) as shown:
            shown.click("[aria-label=Settings]")
            shown.page.until(f"({_button(button)})?.click(), !!document.querySelector('dialog.own[open], .own')")
            shown.page.until("!document.querySelector('dialog [role=status], dialog [aria-busy=true]')")
            draw(name, shown)


def _button(text: str) -> str:
    return f"[...document.querySelectorAll('dialog button')].find((one) => one.textContent === '{text}')"


def console(operated: Operated) -> None:
    """Draws what an operator sees, and the API reference."""
    views = [*OTHERS, *LISTS, "dashboards", "alerts"]
    for view in views:
        with operated.page(f"/admin/{view}") as shown:
            settled(shown)
            draw(f"console-{view}", shown)
    with operated.browser.page(*DESKTOP) as page:
        page.open(f"{operated.up.url}/docs")
        shown = Shown(page)
        shown.there("main h1")
        draw("reference", shown)


@contextmanager
def stack() -> Iterator[tuple[World, Operated]]:
    """A gateway over scripted engines and a loaded Prometheus, which a person and an operator use."""
    said, retrieval = Engine(), Documents()
    said.says[""] = ANSWER
    with ExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory()))
        prometheus = opened.enter_context(loaded())
        loop = opened.enter_context(Loop())
        answering = opened.enter_context(engine(loop, said.app()))
        tuned = catalog(folder, opened.enter_context(engine(loop, scripted().app())))
        small = RemoteModel(name="smollm2", url=f"http://127.0.0.1:{answering}/v1")
        docs = Assistant(name="docs", model="smollm2", knowledge=("docs",), memory=FactsMemory(), starters=STARTERS)
        both = Catalog(models=(small, *tuned.models), aliases=tuned.aliases, assistants=(docs,))
        server = PrometheusServer(url=prometheus.url)
        given = {"retrieval": retrieval, "tuning": Tuning(enabled=True), "prometheus": server}
        up = opened.enter_context(gateway(loop, folder, both, **given))
        browser = Chromium()
        opened.callback(browser.close)
        operated = Operated(up, browser, folder)
        opened.callback(operated.http.close)
        operated.fill("Acme")
        eventually(lambda: operated.get("/v1/admin/alerts"), "Prometheus answers", 60)
        world = World(up, said, browser, loop.do(key_of(up.services, Principal("acme", "mara", ""))))
        opened.callback(world.http.close)
        upload = {"file": ("recover.txt", DOCUMENT.encode())}
        made = world.http.post("/v1/files", files=upload, data={"purpose": "assistants"})
        retrieval.file = made.json()["id"]
        for text in FACTS:
            world.http.post("/v1/memories", json={"assistant": "docs", "text": text}).raise_for_status()
        prompt = {"name": "runbook", "text": "Write a runbook for {{alert}}.\nBegin with what a person sees."}
        world.http.post("/v1/prompts", json=prompt).raise_for_status()
        yield world, operated


def main() -> int:
    """Draws all pages."""
    with stack() as (world, operated):
        chat(world)
        console(operated)
    return 0


if __name__ == "__main__":
    sys.exit(main())
