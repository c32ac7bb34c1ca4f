"""Stacks that tests bring up: where one answers, and the verbs that people use on it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import yaml

from infra.layout import CHECKOUT, Layout
from tests.stacks.ports import reserve
from tests.wait import eventually

UP_S = 800


@dataclass(frozen=True)
class Stack:
    """One stack of this checkout. `url`, `key` and `prometheus_url` are known when it is up.

    `printed` is what its first `up` said.
    """

    name: str
    url: str = ""
    key: str = field(default="", repr=False)
    prometheus_url: str = ""
    printed: str = field(default="", repr=False)

    @property
    def layout(self) -> Layout:
        return Layout.for_stack(self.name)

    @property
    def file(self) -> Path:
        return CHECKOUT / f"Pulumi.{self.name}.yaml"

    def run(self, verb: str, *arguments: str, check: bool = True, timeout: float = UP_S) -> str:
        """Runs `python -m tools.stack VERB` and returns what it printed."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.stack", verb, "--", *arguments],
            cwd=CHECKOUT,
            env={**os.environ, "STACK": self.name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with process:
            try:
                printed, _ = process.communicate(timeout=timeout)
            except KeyboardInterrupt:
                # The verb is interrupted too, and ends Pulumi; the fixture purges the stack only when it has.
                with suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=timeout)
                raise
            finally:
                process.kill()
        if check and process.returncode != 0:
            raise AssertionError(f"tools.stack {verb} failed with {process.returncode}:\n{printed[-6000:]}")
        return printed

    def configure(self, **settings: object) -> None:
        """Writes the stack's configuration file."""
        self.file.write_text(yaml.safe_dump({"config": {f"headrace:{k}": v for k, v in settings.items()}}))

    def change(self, **settings: object) -> None:
        """Changes settings in the configuration file; encrypted ones stay as they are."""
        document = yaml.safe_load(self.file.read_text())
        document["config"] |= {f"headrace:{name}": value for name, value in settings.items()}
        self.file.write_text(yaml.safe_dump(document))

    def settings(self) -> dict[str, object]:
        """Returns what the configuration file says."""
        config = yaml.safe_load(self.file.read_text())["config"]
        return {k.removeprefix("headrace:"): v for k, v in config.items() if k.startswith("headrace:")}

    def outputs(self) -> Stack:
        """Returns the stack with its address and key."""
        lines = dict(line.removeprefix("export ").split("=", 1) for line in self.run("env").splitlines())
        prometheus = f"http://127.0.0.1:{self.settings()['ports']['prometheus']}"
        return Stack(self.name, lines["URL"].strip("'"), lines["KEY"].strip("'"), prometheus)

    def client(self, **options: object) -> httpx.Client:
        """Returns an HTTP client that carries the key."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, **{"timeout": 60, **options})


def settings_for_tests(documents: Path) -> dict[str, object]:
    """Returns the configuration of a test's stack: the shipped one beside an assistant over `documents`."""
    api, prometheus, dashboard, exporter = reserve(4)
    local = yaml.safe_load((CHECKOUT / "Pulumi.local.yaml").read_text())["config"]
    settings = {k.removeprefix("headrace:"): v for k, v in local.items()}
    return settings | {
        "ports": {
            "api": api,
            "prometheus": prometheus,
            "dashboard": dashboard,
            "exporter": exporter,
            "ray": 0,
        },
        "aliases": [
            {"name": "default", "targets": [{"model": "smollm2"}]},
            {"name": "released", "managed": {"base": "smollm2"}},
        ],
        "assistants": [
            *settings["assistants"],
            *tutorial_assistants(),
            {"name": "plain", "model": "default", "prompt": "Be brief."},
            {"name": "terse", "model": "default", "prompt": "Be brief.", "temperature": 0, "max_tokens": 200},
            {"name": "brief", "model": "default", "temperature": 0, "max_tokens": 24},
            {"name": "friend", "model": "default", "memory": {"kind": "facts"}},
            {
                "name": "reader",
                "model": "default",
                "knowledge": ["documents"],
                "temperature": 0,
                "max_tokens": 80,
                "unsupported": "mark",
            },
        ],
        "knowledge": knowledge(documents),
    }


def knowledge(documents: Path) -> list[dict[str, object]]:
    """Returns the collections of a test's stack."""
    return [
        {"name": "docs", "paths": [str(documents.parent / "headrace")]},
        {"name": "documents", "paths": [str(documents)]},
    ]


TUTORIAL = CHECKOUT / "docs" / "tutorial-assistant.md"


def blocks(page: Path, language: str) -> list[str]:
    """Returns the blocks of code in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def tutorial_assistants() -> list[dict[str, object]]:
    """Returns the assistants that the second tutorial tells readers to add."""
    (settings,) = blocks(TUTORIAL, "yaml")
    return list(yaml.safe_load(settings)["config"]["headrace:assistants"])


PAGES = (
    "README.md",
    "docs/tutorial.md",
    "docs/explanation/retrieval.md",
    "docs/how-to/add-a-knowledge-folder.md",
    "docs/how-to/add-a-remote-model.md",
    "docs/how-to/back-up-data.md",
    "docs/how-to/canary.md",
    "docs/how-to/release-a-version.md",
    "docs/how-to/recover-after-a-crash.md",
    "docs/how-to/rotate-the-api-key.md",
    "docs/how-to/two-stacks.md",
)
"""What the assistant `docs` of a test's stack knows: ingesting all of the documentation takes longer than `up`."""


def write_documents(root: Path, *, whole: bool = False) -> Path:
    """Makes a folder of documents that tests may edit, beside a copy of `PAGES`, or of all pages; returns it."""
    # A copy, so that somebody who edits the documentation meanwhile disturbs no test.
    pages = ["README.md", *(str(p.relative_to(CHECKOUT)) for p in CHECKOUT.glob("docs/**/*.md"))] if whole else PAGES
    for page in pages:
        copy = root / "headrace" / page
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / page, copy)
    folder = root / "documents"
    folder.mkdir()
    (folder / "tides.md").write_text("# Tides\n\nThe harbour gate of Brenna opens at the fourth hour after low tide.\n")
    (folder / "bread.md").write_text("# Bread\n\nThe bakery of Brenna bakes rye bread on Mondays and Thursdays.\n")
    return folder


def listens(port: int) -> bool:
    """Whether something on this host takes connections there."""
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


PRICE = {"input": 1, "output": 100_000}
"""Of a million of the ticker's tokens: each of its words costs enough to be noticed."""


@contextmanager
def ticking() -> Iterator[dict[str, object]]:
    """Runs the model `ticker` (see ticker.py) on this host; yields its entry in the configuration."""
    [port] = reserve(1)
    program = Path(__file__).with_name("ticker.py")
    process = subprocess.Popen([sys.executable, program, "127.0.0.1", str(port)], stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: process.poll() is not None or listens(port), "the ticker listens", 20)
        assert process.poll() is None, "the ticker ended"
        yield {"name": "ticker", "engine": "remote", "url": f"http://127.0.0.1:{port}/v1", "price": PRICE}
    finally:
        process.terminate()
        process.wait()


class own_stack:
    """A stack that is brought up on entering and purged on leaving.

    `models` are beside those of `settings_for_tests`; `more` are settings for the URL that the API will have, of which
    `assistants` are beside those of `settings_for_tests` too. `before` is done with the stack before it is brought up.
    """

    def __init__(
        self,
        name: str,
        documents: Path,
        models: Sequence[dict[str, object]] = (),
        more: Callable[[str], dict[str, object]] = lambda url: {},
        before: Callable[[Stack], None] = lambda stack: None,
    ) -> None:
        self.stack = Stack(name)
        self.documents = documents
        self.models = models
        self.more = more
        self.before = before

    def __enter__(self) -> Stack:
        settings = settings_for_tests(self.documents)
        own = self.more(f"http://127.0.0.1:{settings['ports']['api']}")
        assistants = [*settings["assistants"], *own.pop("assistants", [])]
        models = [*settings["models"], *self.models]
        self.stack.configure(**{**settings, "models": models, "assistants": assistants, **own})
        try:
            if self.stack.layout.state.exists():
                self.stack.run("purge")  # a killed run left it
            self.before(self.stack)
            printed = self.stack.run("up")
            return replace(self.stack.outputs(), printed=printed)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            self.stack.run("purge")
        finally:
            self.stack.file.unlink(missing_ok=True)
