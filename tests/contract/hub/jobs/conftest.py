from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter

from serving.config import Catalog, LlamaCppModel, Store, Tuning
from serving.core.principal import Principal
from serving.hub.artefacts import Artefacts
from serving.hub.datasets import Datasets
from serving.hub.jobs.freezing import DatasetRequests
from serving.hub.jobs.replica import TuningReplica
from serving.hub.jobs.tuning import TuningJobs
from serving.hub.versions import Versions
from serving.protocol.tuning import DatasetRequest, JobRequest
from serving.store.captures import Captures
from serving.store.feedback import Ratings
from serving.store.files import Files
from serving.store.jobs.queue import Job, Jobs
from serving.store.objects import data
from serving.store.objects.blobs import Blobs
from serving.store.relational.database import Database
from serving.store.vector_stores import VectorStores
from tests.store import migrated

ALICE = Principal(tenant="acme", user="alice", key_id="key_a")
MALLORY = Principal(tenant="evil", user="mallory", key_id="key_m")


@dataclass(frozen=True)
class Bench:
    """What a gateway has of the hub, and the process that runs its jobs."""

    store: Store
    database: Database
    jobs: Jobs
    files: Files
    blobs: Blobs
    captures: Captures
    ratings: Ratings
    datasets: Datasets
    versions: Versions
    artefacts: Artefacts
    requests: DatasetRequests
    tuning: TuningJobs
    base: Path

    def replica(self, lease_s: float = 30, **settings: Any) -> TuningReplica:
        made = TuningReplica(self.store, Tuning(enabled=True, **settings), lease_s=lease_s)
        made.configure(Catalog(models=(LlamaCppModel(name="m", source=f"file://{self.base}"),)))
        return made

    async def create(self, principal: Principal = ALICE, **asked: Any) -> Job:
        asked = {"method": "quantise", "name": "small", "base": "m"} | asked
        return await self.tuning.create(principal, JobRequest.model_validate(asked))

    async def freeze(self, principal: Principal = ALICE, **asked: Any) -> str:
        made = await self.requests.create(principal, DatasetRequest.model_validate({"redact": False} | asked))
        return made.id

    async def freeze_file(self, file: str, principal: Principal = ALICE) -> str:
        made = await self.requests.create(principal, DatasetRequest(format="openai-chat", file=file))
        return made.id


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    url = migrated.sqlite_at(f"sqlite:///{tmp_path}/h.db")
    store = Store(database=url, data=str(tmp_path / "data"), migrate=False)
    base = tmp_path / "base.gguf"
    write_base(base)
    artefacts = Artefacts(data.place(store, data.HUB))
    async with Database(url) as database:
        jobs = Jobs(database, backoff_s=0.01)
        files = Files(database, jobs, VectorStores(database, jobs))
        datasets, versions = Datasets(database, artefacts), Versions(database, artefacts)
        yield Bench(
            store=store,
            database=database,
            jobs=jobs,
            files=files,
            blobs=Blobs(data.place(store, data.FILES)),
            captures=Captures(database),
            ratings=Ratings(database),
            datasets=datasets,
            versions=versions,
            artefacts=artefacts,
            requests=DatasetRequests(database, jobs, datasets, files),
            tuning=TuningJobs(Tuning(enabled=True), jobs, datasets, versions, artefacts),
            base=base,
        )


def write_base(path: Path) -> None:
    """Writes a model of two blocks, as far as jobs without PyTorch read it."""
    writer = GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_uint32("llama.attention.head_count", 2)
    writer.add_uint32("llama.attention.head_count_kv", 2)
    random = np.random.default_rng(0)
    writer.add_tensor("token_embd.weight", random.normal(0, 0.05, (4, 64)).astype(np.float32))
    for block in range(2):
        writer.add_tensor(f"blk.{block}.attn_norm.weight", np.ones(64, np.float32))
        writer.add_tensor(f"blk.{block}.attn_q.weight", random.normal(0, 0.05, (64, 64)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
