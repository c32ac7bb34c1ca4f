"""Questions of one tenant about files of their own never take all places: another's are searched between them."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from infra.config import DOCS
from serving.core.principal import Principal
from serving.retrieval.attached import AT_ONCE
from serving.retrieval.parse import parse
from serving.retrieval.types import AttachedDocument
from tests.contract.retrieval.test_reindex import running

HOSTILE, OTHER = (Principal(tenant=name, user="u", key_id="k") for name in ("a-hostile", "m-other"))
QUESTION = "Where does the heron sleep?"
TEXT = b"The heron sleeps in the old willow.\n"


async def test_a_file_is_searched_between_those_of_another_tenant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are searched by the real search, but each only once it is let go."""
    file = AttachedDocument("k" * 64, "", "heron.md", parse(TEXT, "heron.md"))
    begun: list[str] = []
    let_go = threading.Semaphore(0)
    async with running(tmp_path) as replica:
        search = replica._attached.search

        def slowly(tenant: str, *given: Any) -> Any:
            begun.append(tenant)
            assert let_go.acquire(timeout=600)
            return search(tenant, *given)

        monkeypatch.setattr(replica._attached, "search", slowly)

        async def begins(count: int) -> None:
            async with asyncio.timeout(300):
                while len(begun) < count:
                    await asyncio.sleep(0.02)

        asks = [asyncio.create_task(replica.attached(HOSTILE, DOCS, QUESTION, [file])) for _ in range(4 * AT_ONCE)]
        try:
            await begins(AT_ONCE)
            mine = asyncio.create_task(replica.attached(OTHER, DOCS, QUESTION, [file]))
            async with asyncio.timeout(300):
                while "m-other" not in [tenant for tenant, _ in replica._attached._places._waiting]:
                    await asyncio.sleep(0.02)
            let_go.release()
            await begins(AT_ONCE + 1)
            assert begun == [*["a-hostile"] * AT_ONCE, "m-other"]
        finally:
            let_go.release(len(asks) + 1)
        hits = await mine
        assert hits
        assert await asyncio.gather(*asks) == [hits] * len(asks)
