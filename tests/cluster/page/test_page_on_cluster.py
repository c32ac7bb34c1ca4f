"""A person and an operator use the page of the stack on a cluster, over https and through two gateways.

The test cluster has no ingress controller: what ends TLS here passes each connection on to a port of a node.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cluster.stack import ClusterStack
from tests.contract.page.console.operated import settled
from tests.contract.page.world import Shown
from tests.contract.running import Loop
from tests.servers.browser import Chromium, unpacked
from tests.servers.certificate import certificate
from tests.stacks.sign_on import HOME

QUESTION = "When does the harbour gate of Brenna open?"


async def copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()
    writer.close()


async def edge(url: str, folder: Path) -> asyncio.Server:
    """Ends TLS on a port of loopback, and passes what it reads on to a URL."""
    target = urlsplit(url)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(copied(reader, back), copied(there, writer), return_exceptions=True)

    made = certificate(folder, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.file, made.key)
    return await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context)


@pytest.fixture(scope="module")
def chromium(stack: ClusterStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A browser for which the stack's name is the edge."""
    unpacked()
    with Loop() as loop:
        server = loop.do(edge(stack.url, tmp_path_factory.mktemp("edge")))
        port = server.sockets[0].getsockname()[1]
        name = urlsplit(HOME).hostname
        browser = Chromium(f"--host-resolver-rules=MAP {name}:443 127.0.0.1:{port}", "--ignore-certificate-errors")
        yield browser
        browser.close()
        server.close()


@pytest.fixture
def shown(stack: ClusterStack, chromium: Chromium) -> Iterator[Shown]:
    """The page, opened by somebody who has a key; it asks no other host."""
    with chromium.page() as page:
        page.open(f"{HOME}/")
        found = Shown(page)
        found.there(".sign-in #key")
        page.evaluate("document.querySelector('#key').focus()")
        found.write(stack.key)
        found.enter()
        found.there("#message")
        yield found
        page.settle()
        assert {url for url in page.requests if not url.startswith((f"{HOME}/", "data:"))} == set()
        # Before the sign-in there is no session.
        assert [line for line in page.complaints if "401" not in line] == []


def test_a_person_asks_reads_the_passage_rates_and_comes_back(stack: ClusterStack, shown: Shown) -> None:
    shown.page.choose(".chooser select", "reader")
    shown.ask(QUESTION)
    shown.answered()
    answer = shown.text(".answer")
    shown.click(".answer .sources button")
    shown.there("aside blockquote", "Brenna")
    shown.click("[aria-label='Good answer']")
    shown.there(".rating")
    shown.click(".rating [type=submit]")
    shown.there("[role=status]", "Thank you")
    with stack.client() as client:
        assert "up" in [each["thumb"] for each in client.get("/v1/feedback").json()["data"]]
    place = shown.page.evaluate("location.pathname")
    assert place.startswith("/c/")
    for _ in range(3):  # whichever gateway answers
        shown.page.open(f"{HOME}{place}")
        shown.answered()
        assert QUESTION in shown.text(".question")
        assert shown.text(".answer")[:40] == answer[:40]


def test_an_operator_sees_the_stack_in_the_console(shown: Shown) -> None:
    shown.page.open(f"{HOME}/admin/models")
    settled(shown)
    shown.there("tbody tr", "smollm2")
    shown.page.open(f"{HOME}/admin/audit")
    settled(shown)
    shown.there("tbody tr", "session.create")
