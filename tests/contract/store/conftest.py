from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

import serving
from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.store.captures import Captures
from serving.store.conversations import Conversations
from serving.store.files import Files
from serving.store.jobs.queue import Jobs
from serving.store.relational.database import Database
from serving.store.vector_stores import VectorStores
from tests.store import migrated

Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Returns URLs of databases that are not there yet (SQLite) or empty."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres").database
    numbers = count()
    return lambda: f"sqlite:///{tmp_path}/state/headrace{next(numbers) or ''}.db"


@pytest.fixture
def url(new_url: Callable[[], str], request: pytest.FixtureRequest) -> str:
    """A database that is not there yet or is empty; one for `database` is migrated already."""
    if "database" not in request.fixturenames:
        return new_url()
    if request.node.callspec.params["new_url"] == "postgresql":
        return migrated.postgres_of(request.getfixturevalue("postgres"))
    return migrated.sqlite_at(new_url())


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with Database(url) as database:
        yield database


@pytest.fixture
def jobs(database: Database) -> Jobs:
    return Jobs(database, backoff_s=0.01)


@pytest.fixture
def vector_stores(database: Database, jobs: Jobs) -> VectorStores:
    return VectorStores(database, jobs)


@pytest.fixture
def files(database: Database, jobs: Jobs, vector_stores: VectorStores) -> Files:
    return Files(database, jobs, vector_stores)


@pytest.fixture
def conversations(database: Database) -> Conversations:
    return Conversations(database)


@pytest.fixture
def captures(database: Database) -> Captures:
    return Captures(database)


@pytest.fixture
def alice() -> Principal:
    return Principal(tenant="acme", user="alice", key_id="key_a")


@pytest.fixture
def mallory() -> Principal:
    return Principal(tenant="evil", user="mallory", key_id="key_m")


@pytest.fixture
def add_file(files: Files) -> Callable[..., object]:
    async def add(principal: Principal, name: str = "a.md") -> str:
        file = await files.create(
            principal, new_id("file"), filename=name, purpose="assistants", bytes=3, sha256="0" * 64, kind="text/plain"
        )
        return file.id

    return add


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Starts `python -c code args…` with the project on its path; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []
    root = str(Path(serving.__file__).parents[1])

    def start(code: str, *args: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *args],
            env=os.environ | {"PYTHONPATH": root},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
