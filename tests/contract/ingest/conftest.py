"""Stacks that documents are ingested into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.config import SecretRef, Store
from tests.contract.ingest.stack import Stack
from tests.servers.process import held_port


@pytest.fixture(params=["sqlite and folder", "postgresql and s3"])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    if request.param == "postgresql and s3":
        given = request.getfixturevalue("s3_store")
        postgres = request.getfixturevalue("postgres")
        (tmp_path / "password").write_text(postgres.password)
        password = SecretRef(ref=f"file:{tmp_path}/password")
        store = given.model_copy(update={"database": postgres.database(), "password": password})
    else:
        store = Store(database=f"sqlite:///{tmp_path}/headrace.db", data=f"{tmp_path}/data")
    with held_port() as port:
        stack = Stack(store, tmp_path / "stack", port)
        stack.start()
        yield stack
        stack.stop()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Stack]:
    """A stack on SQLite and a folder."""
    with held_port() as port:
        stack = Stack(
            Store(database=f"sqlite:///{tmp_path}/headrace.db", data=f"{tmp_path}/data"), tmp_path / "s", port
        )
        stack.start()
        yield stack
        stack.stop()
