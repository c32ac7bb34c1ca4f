"""Stacks on both databases; planting takes seconds, so it is done once for each kind of database."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest

from serving.config import Store
from serving.retrieval.embedders.registry import EmbedderRegistry
from tests.contract.retrieval.erasure.stack import Stack, plant
from tests.servers.postgres import Postgres
from tests.store import migrated


@pytest.fixture(scope="module")
def embedders() -> EmbedderRegistry:
    return EmbedderRegistry(cast(Any, None), cast(Any, None))


@dataclass(frozen=True)
class Planted:
    """What `plant` left: a folder, and with PostgreSQL the name of a database."""

    folder: Path
    database: str
    store_id: str


@pytest.fixture(scope="module")
def planting(
    request: pytest.FixtureRequest, embedders: EmbedderRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Planted]:
    """Plants once for each kind of database. Whoever wants what is there takes a copy: to plant takes seconds."""

    @cache
    def planted(kind: str) -> Planted:
        folder = tmp_path_factory.mktemp("planted")
        if kind == "postgresql":
            url = migrated.postgres_of(request.getfixturevalue("postgres"))
        else:
            url = migrated.sqlite_at(f"sqlite:///{folder}/headrace.db")

        async def run() -> str:
            made = Stack(Store(database=url, data=str(folder)), embedders)
            async with made.database:
                return await plant(made)

        with ThreadPoolExecutor(1) as elsewhere:  # this thread's event loop may be a test's
            return Planted(folder, url.rpartition("/")[2], elsewhere.submit(asyncio.run, run()).result())

    return planted


@pytest.fixture
def planted(stack: Stack, planting: Callable[[str], Planted]) -> str:
    """The id of a store that all share, in a stack in which everybody has planted."""
    return planting("sqlite" if stack.database.is_sqlite else "postgresql").store_id


@pytest.fixture(params=["sqlite", "postgresql"])
async def stack(
    request: pytest.FixtureRequest, tmp_path: Path, embedders: EmbedderRegistry, planting: Callable[[str], Planted]
) -> AsyncIterator[Stack]:
    there = planting(request.param) if "planted" in request.fixturenames else None
    if there is not None:
        shutil.copytree(there.folder, tmp_path, dirs_exist_ok=True)
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.database(there.database) if there is not None else migrated.postgres_of(server)
    else:
        url = f"sqlite:///{tmp_path}/headrace.db"
        if there is None:
            migrated.sqlite_at(url)
    made = Stack(Store(database=url, data=str(tmp_path)), embedders)
    async with made.database:
        yield made
