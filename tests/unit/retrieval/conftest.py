"""What tests of retrieval share: the embedders, which are read only and take 0.3 s to load, and a replica."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from serving.config import JUDGE, SecretRef, ServingConfig, Store
from serving.retrieval.embedders.onnx import OnnxEmbedder

if TYPE_CHECKING:
    from serving.retrieval.replica import RetrievalReplica


@pytest.fixture(scope="session")
def embedder() -> OnnxEmbedder:
    """What measures how near texts are."""
    return OnnxEmbedder(JUDGE)


@pytest.fixture(scope="session")
def of_documents() -> OnnxEmbedder:
    """The default embedder of documents."""
    return OnnxEmbedder()


@pytest.fixture(scope="session")
def replica_module() -> ModuleType:
    """The module of the replica, which imports LanceDB: processes that run no such test do not wait for that."""
    return importlib.import_module("serving.retrieval.replica")


@pytest.fixture
async def replica(tmp_path: Path, replica_module: ModuleType) -> AsyncIterator[RetrievalReplica]:
    """A retrieval replica over SQLite and a folder, without Ray."""
    (tmp_path / "secret").write_text("s" * 40)
    secret = SecretRef(ref=f"file:{tmp_path / 'secret'}")
    config = ServingConfig(
        store=Store(database=f"sqlite:///{tmp_path / 'h.db'}", data=str(tmp_path)),
        key_secret=secret,
        bootstrap_key=secret,
    )
    replica: RetrievalReplica = replica_module.RetrievalReplica(config)
    await replica.start()
    yield replica
    tasks = [task for task in (replica._working, replica._housekeeping) if task is not None]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await replica._database.close()
