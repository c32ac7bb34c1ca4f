"""Amplification: what requests and documents make the platform store, compute, queue and log, for what they send.

Each attack is measured at a process with all parts of the platform but its engines. The rule is a factor of `MOST`;
what may pass it is in `EXCEPTIONS`, with its bound, and on the page of the threat model.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.campaigns.amplification.documents import DOCUMENTS, sentences
from tests.contract.campaigns.amplification.exceptions import EXCEPTIONS, MOST
from tests.contract.campaigns.amplification.measuring import MEASURES, Amounts, Measure, platform
from tests.contract.campaigns.amplification.operations import REFUSED, World, attacks, chat, world

pytestmark = pytest.mark.full

ONLY = os.environ.get("HEADRACE_AMPLIFICATION", "")
"""A part of the names of attacks: only these are measured."""

ORDINARY = 20_000
"""Bytes of an ordinary request and of an ordinary document, from whose processor time that of others is judged."""

LOADED_S = 0.5
"""Processor seconds of what an attack loads once."""

Cost = Callable[[Amounts], float]
"""The processor seconds of ordinary requests that are as many and have as many bytes."""


@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize(
    ("requests", "files"), [(10, 40), pytest.param(100, 100, marks=pytest.mark.soak)], ids=["reduced", "whole"]
)
def test_requests_amplify_within_bounds(requests: int, files: int, tmp_path: Path) -> None:
    with platform(tmp_path) as up:
        of = world(up, files)
        ordinary = judged_by(of, lambda size: of.http.post("/v1/chat/completions", json=chat(size)), 200)
        passed = list[str]()
        for operation, name, attack in attacks():
            if ONLY not in name:
                continue
            before = up.amounts()
            first = attack(of, 0)
            if first.is_success == (operation in REFUSED):
                passed.append(f"{name}: {first.status_code} {first.text[:500]}")
                continue
            for n in range(1, requests):
                assert attack(of, n).status_code < 500, name
            passed += violations(name, up.amounts() - before, ordinary, requests)
        assert not passed, "\n".join(passed)


@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize(
    "characters", [20_000, pytest.param(900_000, marks=pytest.mark.soak)], ids=["reduced", "whole"]
)
def test_documents_amplify_within_bounds(characters: int, tmp_path: Path) -> None:
    with platform(tmp_path) as up:
        of = World(up)
        ordinary = judged_by(of, lambda size: ingest(of, "a.md", sentences(size).encode()), 5)
        passed = list[str]()
        for format, named in DOCUMENTS.items():
            for what, (file, make) in named.items():
                name = f"a document of `{format}`: {what}"
                if ONLY not in name:
                    continue
                content = make(characters)
                before = up.amounts()
                ingest(of, file, content)
                passed += violations(name, up.amounts() - before, ordinary, 1)
        assert not passed, "\n".join(passed)


def ingest(of: World, name: str, content: bytes) -> None:
    """Uploads a document and puts it into a vector store of its own; it may be refused there."""
    store = of.post("/v1/vector_stores", {"name": name})["id"]
    of.post(f"/v1/vector_stores/{store}/files", {"file_id": of.upload(name, content)})


def judged_by(of: World, send: Callable[[int], object], again: int) -> Cost:
    """Returns the cost of ordinary requests, measured by small ones and by large ones."""
    send(1)  # what is loaded once
    seconds = list[float]()
    for size in (1, ORDINARY):
        before = of.platform.amounts()
        for _ in range(again):
            send(size)
        seconds.append((of.platform.amounts() - before).seconds / again)
    small, large = seconds
    per_byte = max(large - small, 0) / ORDINARY
    print(f"ordinary: {small:.4f} s, and {per_byte * 1e6:.2f} s for each megabyte")
    return lambda amounts: small * amounts.requests + per_byte * amounts.sent


def violations(name: str, amounts: Amounts, ordinary: Cost, attacks: int) -> list[str]:
    """Returns what passes the rule, or the bound of its exception for each of so many attacks."""
    allowed: dict[Measure, float] = {
        "stored bytes": MOST * amounts.sent,
        "processor seconds": MOST * ordinary(amounts) + LOADED_S,
        "jobs": MOST * amounts.requests,
        "log bytes": MOST * amounts.sent,
        "log lines": MOST * amounts.requests,
    }
    found = list[str]()
    print(f"{name}: {amounts.requests} requests of {amounts.sent} bytes", end="")
    for measure in MEASURES:
        amount, exception = amounts.of(measure), EXCEPTIONS.get((name, measure))
        most = allowed[measure]
        if exception is not None and measure == "processor seconds":
            most = exception.most * ordinary(amounts) + LOADED_S
        elif exception is not None:
            most = exception.most * attacks
        print(f"; {measure} {amount:,.10g} ({amount / allowed[measure] * MOST:.1f} of {MOST})", end="")
        if amount > most:
            found.append(f"{name}: {amount:,.10g} {measure} for {amounts}, at most {most:,.10g}")
    print()
    return found
