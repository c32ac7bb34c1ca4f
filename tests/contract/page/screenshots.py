"""`python -m tests.contract.page.screenshots`: draws the web page into docs/images, in a real browser.

What a model would say there is made up.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from serving.config import Assistant, Catalog, RemoteModel
from serving.core.principal import Principal
from serving.retrieval.types import Attribution, Citation, Position
from tests.callers.identity import key_of
from tests.contract.page.world import Engine, Retrieval, Shown, World
from tests.contract.running import Loop, engine, gateway
from tests.servers.browser import Chromium
from tests.servers.picture import compressed

FOLDER = Path(__file__).parents[3] / "docs" / "images"
OTHERS = (
    "How do I rotate the secret that hashes keys?",
    "Which ports does a stack open?",
    "What does a canary compare?",
)
QUESTION = "Can I run make up twice?"
ANSWER = """Running `make up` twice is safe. The stack **adopts** what already runs and starts only what has ended.

| resource | second `make up` | after a crash |
| --- | --- | --- |
| Ray | kept | started again |
| gateway | kept | started by Ray Serve |
| Prometheus | kept | started again |

```sh
make up         # starts what has ended
make outputs    # prints the addresses again
```

A changed prompt restarts nothing, because it travels to the running gateways.
"""
DOCUMENT = """You can run `make up` again at any time.

`make up` starts a process that has ended, and adopts one that still runs.
A process that does not answer is ended first.

A stack that was interrupted in the middle of an update continues where it stopped."""
QUOTE = "`make up` starts a process that has ended, and adopts one that still runs."


class Documents(Retrieval):
    """Finds the passage above."""

    async def remote(self, method: str, *args: Any) -> Any:
        if method != "attribute":
            return await super().remote(method, *args)
        start, end = DOCUMENT.index(QUOTE), ANSWER.index("\n\n")
        position = Position(start, start + len(QUOTE), None)
        title = "Recover after a crash"
        return Attribution((Citation(0, end, self.file, "recover.md", title, QUOTE, position, 0.9),), ())


def draw(world: World, name: str, width: int, height: int, scheme: str = "light", *, passage: bool = False) -> None:
    with world.page("/", width, height, scheme) as shown:
        for question in () if shown.count(".side li") else OTHERS:
            _asked(shown, question)
            shown.click(".new")
        _asked(shown, QUESTION)
        if passage:
            shown.click(".mark")
            shown.there("aside mark")
        shown.page.evaluate("document.activeElement.blur(); document.querySelector('.thread').scrollTo(0, 0)")
        shot = shown.page.ask("Page.captureScreenshot", format="png")
        (FOLDER / f"{name}.png").write_bytes(compressed(base64.b64decode(shot["data"]), height))


def _asked(shown: Shown, question: str) -> None:
    shown.gone(".answer")
    shown.ask(question)
    shown.answered()


def main() -> int:
    """Draws all pictures."""
    scripted, retrieval, browser = Engine(), Documents(), Chromium()
    scripted.says[""] = ANSWER
    try:
        with TemporaryDirectory() as folder, Loop() as loop, engine(loop, scripted.app()) as port:
            small = RemoteModel(name="smollm2", url=f"http://127.0.0.1:{port}/v1")
            docs = Assistant(name="docs", model="smollm2", knowledge=("docs",))
            catalog = Catalog(models=(small,), assistants=(docs,))
            with gateway(loop, Path(folder), catalog, retrieval=retrieval) as up:
                world = World(up, scripted, browser, loop.do(key_of(up.services, Principal("acme", "mara", ""))))
                upload = {"file": ("recover.txt", DOCUMENT.encode())}
                made = world.http.post("/v1/files", files=upload, data={"purpose": "assistants"})
                retrieval.file = made.json()["id"]
                draw(world, "page", 1280, 800, passage=True)
                draw(world, "page-dark", 1280, 800, "dark", passage=True)
                draw(world, "page-phone", 390, 844)
                world.http.close()
    finally:
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
