from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from serving.core.principal import Principal
from serving.hub.artefacts import Artefacts
from serving.hub.datasets import Dataset, Datasets
from serving.hub.live import Live
from serving.hub.versions import Version, Versions
from serving.store.objects.live_adapters import LiveSets
from serving.store.objects.places import Folder
from serving.store.relational.database import Database
from tests.store import migrated

ALICE = Principal(tenant="acme", user="alice", key_id="key_a")
MALLORY = Principal(tenant="evil", user="mallory", key_id="key_m")
WANTED: dict[str, Any] = {"name": "docs", "kind": "adapter", "base": "smollm2", "base_digest": "0" * 64}


@dataclass(frozen=True)
class Hub:
    """The hub's stores, and what is in its storage place."""

    database: Database
    artefacts: Artefacts
    versions: Versions
    datasets: Datasets
    sets: LiveSets
    live: Live
    root: Path
    file: Path

    async def version(self, principal: Principal = ALICE, **given: Any) -> Version:
        """A version that is ready, with one artefact."""
        made = await self.versions.begin(principal, **{**WANTED, "method": "sft", **given})
        await self.versions.add(principal, made.id, "adapter.gguf", self.file)
        return await self.versions.finish(principal, made.id)

    async def dataset(self, *people: str, principal: Principal = ALICE) -> Dataset:
        """A data set of these people's data that is ready."""
        made = await self.datasets.begin(principal, format="sft")
        await self.datasets.add(principal, made.id, "train.jsonl", self.file)
        given: dict[str, Any] = {"digest": "a" * 64, "manifest": {"seed": 1}, "counts": {"rows": 1}}
        return await self.datasets.finish(principal, made.id, people=people, **given)

    def stored(self) -> set[str]:
        return {path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()}


@pytest.fixture(params=["sqlite", "postgresql"])
async def hub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hub]:
    if request.param == "postgresql":
        url = migrated.postgres_of(request.getfixturevalue("postgres"))
    else:
        url = migrated.sqlite_at(f"sqlite:///{tmp_path}/h.db")
    root, file = tmp_path / "hub", tmp_path / "artefact"
    file.write_bytes(b"weights")
    place = Folder(root)
    artefacts, sets = Artefacts(place), LiveSets(place)
    async with Database(url) as database:
        versions, datasets = Versions(database, artefacts), Datasets(database, artefacts)
        yield Hub(database, artefacts, versions, datasets, sets, Live(database, sets), root, file)
