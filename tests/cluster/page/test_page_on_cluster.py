"""A person and an operator use the page of the stack on a cluster, through its Service and two gateways.

The test cluster has no ingress controller: a node's port takes the place of the load balancer.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.stack import ClusterStack
from tests.contract.page.console.operated import settled
from tests.contract.page.world import Shown
from tests.servers.browser import Chromium, unpacked

QUESTION = "When does the harbour gate of Brenna open?"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    unpacked()
    browser = Chromium()
    yield browser
    browser.close()


@pytest.fixture
def shown(stack: ClusterStack, chromium: Chromium) -> Iterator[Shown]:
    """The page, opened by somebody who has a key; it asks no other host."""
    with chromium.page() as page:
        page.open(f"{stack.url}/")
        found = Shown(page)
        found.there(".sign-in #key")
        page.evaluate("document.querySelector('#key').focus()")
        found.write(stack.key)
        found.enter()
        found.there("#message")
        yield found
        page.settle()
        assert {url for url in page.requests if not url.startswith((stack.url, "data:"))} == set()
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
        shown.page.open(f"{stack.url}{place}")
        shown.answered()
        assert QUESTION in shown.text(".question")
        assert shown.text(".answer")[:40] == answer[:40]


def test_an_operator_sees_the_stack_in_the_console(stack: ClusterStack, shown: Shown) -> None:
    shown.page.open(f"{stack.url}/admin/models")
    settled(shown)
    shown.there("tbody tr", "smollm2")
    shown.page.open(f"{stack.url}/admin/audit")
    settled(shown)
    shown.there("tbody tr", "session.create")
