"""States that are empty, and one that is full."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.contract.store.upkeep.archive_state import Filled, State


@pytest.fixture
async def new_state(new_url: Callable[[], str], tmp_path: Path):
    made: list[State] = []

    def make(**given: Any) -> State:
        place = given.pop("where", f"{tmp_path}/data{len(made)}")
        made.append(State(given.pop("url", None) or new_url(), place, **given))
        return made[-1]

    yield make
    for state in made:
        await state.database.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """A state that is made once: to make one takes a second."""
    folder, archived = tmp_path_factory.mktemp("filled"), tmp_path_factory.mktemp("archive") / "a.tar"

    async def make() -> str:
        state = State(f"sqlite:///{folder}/headrace.db", f"{folder}/data")
        store_id = await state.fill()
        await state.save(archived)
        await state.database.close()
        return store_id

    with ThreadPoolExecutor(1) as elsewhere:  # this thread's event loop may be a test's
        return Filled(folder, archived, elsewhere.submit(asyncio.run, make()).result())


@pytest.fixture
async def state(filled: Filled, tmp_path: Path) -> AsyncIterator[State]:
    """A copy of that state, which a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(filled.folder, folder)
    state = State(f"sqlite:///{folder}/headrace.db", f"{folder}/data")
    yield state
    await state.database.close()
