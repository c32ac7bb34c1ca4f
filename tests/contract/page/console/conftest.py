"""One gateway for all tests of the console, in the browser of the chat's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving.config import Tuning
from tests.contract.page.console.operated import Operated, catalog, scripted
from tests.contract.page.world import Retrieval
from tests.contract.running import Loop, engine, gateway
from tests.servers.browser import Chromium, unpacked


@pytest.fixture(scope="session")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    unpacked()
    folder = tmp_path_factory.mktemp("console")
    with (
        Loop() as loop,
        engine(loop, scripted().app()) as port,
        gateway(loop, folder, catalog(folder, port), retrieval=Retrieval(), tuning=Tuning(enabled=True)) as up,
    ):
        browser = Chromium()
        made = Operated(up, browser, folder)
        made.fill()
        yield made
        made.http.close()
        browser.close()
