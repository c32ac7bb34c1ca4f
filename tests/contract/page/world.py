"""A gateway with a scripted engine, and a browser that shows its page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from aiohttp import web

from serving.retrieval.types import Attribution, Citation, Hit, Position, TextSpan
from tests.contract.running import Gateway
from tests.servers.browser import Chromium, Page

PIECE = 7
STARTERS = ("What is <b>deep</b>?", "ما هو البحر؟")
DOCUMENT = "The land is dry. 😀 The sea is <b>deep</b>. The air is thin."
QUOTE = "The sea is <b>deep</b>."
HOSTILE_TITLE = '"><img src=x onerror=alert(1)>\u202egnp.md'


class Engine:
    """Answers each question as it is told to, in small pieces; `hold` stops it in the middle, `cut` ends it there."""

    def __init__(self) -> None:
        self.says: dict[str, str] = {}
        self.going_on = asyncio.Event()
        self.going_on.set()
        self.half: set[str] = set()
        """Questions of whose answers half is sent."""
        self.cut = False
        self.acts: list[str] = []
        """What a strategy's model says next."""
        self.tickets: list[Any] = []
        self.url = ""

    def app(self) -> web.Application:
        app = web.Application(client_max_size=10**8)
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_post("/tickets", self._ticket)
        return app

    async def _ticket(self, request: web.Request) -> web.Response:
        self.tickets.append(await request.json())
        return web.json_response({"ok": True})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if not body.get("stream"):
            # What asks without the tool is no strategy, but a job that looks for facts.
            said = self.acts.pop(0) if "tickets" in json.dumps(body) else "none"
            choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
            return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
        question = body["messages"][-1]["content"]
        if not isinstance(question, str):
            question = "\n".join(part["text"] for part in question)
        text = next((text for name, text in self.says.items() if name in question), f"You asked: {question}")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        size = max(PIECE, len(text) // 400)
        for at in range(0, len(text), size):
            if at >= len(text) // 2 and question not in self.half:
                self.half.add(question)
                await self.going_on.wait()
                if self.cut:
                    assert request.transport is not None
                    request.transport.abort()
                    return response
            await response.write(frame({"content": text[at : at + size]}, None))
        await response.write(frame({}, "stop") + b"data: [DONE]\n\n")
        return response


def frame(delta: dict[str, Any], reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return f"data: {json.dumps({'id': 'theirs', 'choices': [choice]})}\n\n".encode()


class Retrieval:
    """Finds one passage, which supports the first sentence of an answer, and not the second."""

    def __init__(self) -> None:
        self.call = self
        self.local: tuple[str, ...] = ()
        self.file = ""

    async def remote(self, method: str, *args: Any) -> Any:
        if method != "attribute":
            return [Hit("c", self.file, "sea.txt", HOSTILE_TITLE, "", QUOTE, 0, 16, None, 0.9, 0.9, 0.0)]
        end = str(args[0]).find(".") + 1
        start = DOCUMENT.index(QUOTE)
        position = Position(start, start + len(QUOTE), 3)
        cited = Citation(0, end, self.file, "sea.txt", HOSTILE_TITLE, QUOTE, position, 0.9)
        second = str(args[0]).find(".", end) + 1
        return Attribution((cited,), (TextSpan(end, second or len(str(args[0]))),))


class Wire:
    """Passes a browser's connections on to the gateway, and can cut them."""

    def __init__(self, target: str) -> None:
        self._port = int(target.rpartition(":")[2])
        self._open: list[asyncio.StreamWriter] = []

    async def start(self) -> str:
        """Returns the URL to which the browser goes instead."""
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def stop(self) -> None:
        await self.cut()
        self._server.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._open += [writer, back]
        await asyncio.gather(_copy(reader, back), _copy(there, writer), return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()
    writer.close()


@dataclass
class World:
    up: Gateway
    engine: Engine
    browser: Chromium
    key: str
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.up.url, timeout=60, trust_env=False)
        self.http.headers["authorization"] = f"Bearer {self.key}"

    def does(self, action: str) -> None:
        """Lets the engine go on, or stop in the middle."""
        self.up.loop.do(_called(getattr(self.engine.going_on, action)))

    @contextmanager
    def wire(self) -> Iterator[tuple[str, Wire]]:
        """A way to the gateway that can be cut, and its URL."""
        wire = Wire(self.up.url)
        try:
            yield self.up.loop.do(wire.start()), wire
        finally:
            self.up.loop.do(wire.stop())

    @contextmanager
    def page(
        self,
        path: str = "/",
        width: int = 1280,
        height: int = 900,
        scheme: str = "light",
        url: str = "",
        language: str = "en",
    ) -> Iterator[Shown]:
        """The page at a path, for somebody who is signed in."""
        answer = httpx.post(
            f"{self.up.url}/auth/key",
            json={"key": self.key},
            headers={"origin": self.up.url},
            timeout=60,
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        with self.browser.page(width, height, scheme) as page:
            for name, value in answer.cookies.items():
                page.ask("Network.setCookie", name=name, value=value, url=self.up.url, httpOnly=True)
            page.speak(language)
            page.open((url or self.up.url) + path)
            shown = Shown(page)
            shown.there("#message")
            yield shown


async def _called(action: Any) -> None:
    action()


class Shown:
    """What a person sees of the page, and does there."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def there(self, selector: str, text: str = "") -> None:
        """Waits for an element, with a text in it."""
        script = f"""[...document.querySelectorAll({json.dumps(selector)})]
          .some((one) => one.textContent.includes({json.dumps(text)}))"""
        self.page.until(script, lambda: self.page.evaluate("document.body.innerText"))

    def gone(self, selector: str) -> None:
        self.page.until(f"!document.querySelector({json.dumps(selector)})")

    def count(self, selector: str) -> int:
        found: int = self.page.evaluate(f"document.querySelectorAll({json.dumps(selector)}).length")
        return found

    def text(self, selector: str) -> str:
        found: str = self.page.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")
        return found

    def click(self, selector: str) -> None:
        """Clicks the last such element."""
        self.there(selector)
        self.page.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].at(-1).click()")

    def write(self, text: str) -> None:
        self.page.ask("Input.insertText", text=text)

    def enter(self) -> None:
        self.page.press("Enter", 13, "\r")

    def ask(self, question: str) -> None:
        self.page.until("document.querySelector('.chooser select').value !== ''")
        self.page.evaluate("document.querySelector('#message').focus()")
        self.write(question)
        self.enter()

    def answered(self, number: int = 1) -> None:
        """Waits until so many answers have ended."""
        script = f"document.querySelectorAll('.answer[aria-busy=false] .actions').length === {number}"
        self.page.until(script, lambda: self.page.evaluate("document.body.innerText"))
