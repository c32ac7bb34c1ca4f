"""The process that runs the hub's jobs: it freezes data sets, and starts a child for each tuning job.

It is a deployment of its own, so that a gateway's update or load ends no job, and that no job delays an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from pathlib import Path

from sqlalchemy import select

from serving.config import Catalog, LlamaCppModel, Store, Tuning
from serving.core.uninterrupted import uninterrupted
from serving.hub.artefacts import Artefacts
from serving.hub.datasets import Datasets
from serving.hub.jobs.freezing import Freezing
from serving.hub.jobs.running import Tuner
from serving.hub.versions import Versions
from serving.store.errors import StoreUnavailable
from serving.store.files import Files
from serving.store.jobs.counted import counted
from serving.store.jobs.queue import Jobs
from serving.store.jobs.worker import Worker
from serving.store.objects import data
from serving.store.objects.blobs import Blobs
from serving.store.relational.database import Database
from serving.store.relational.tables import UNFINISHED, jobs
from serving.store.vector_stores import VectorStores

log = logging.getLogger("headrace.tuning")

SWEEP_S = 60.0
"""Interval in which folders of ended jobs are removed."""

WORK = "tuning"
"""Folder of jobs and restored bases, in the stack's data folder; backups do not contain it."""


class TuningReplica:
    """Runs jobs until it is stopped. A job that is interrupted goes on from its newest checkpoint."""

    def __init__(self, store: Store, tuning: Tuning, *, lease_s: float = 30) -> None:
        """A job that is cancelled ends within a third of `lease_s`."""
        if store.in_bucket:
            raise ValueError("tuning needs store.data to be a folder of this host")
        work = Path(store.data) / WORK
        self._lease_s = lease_s
        self._database = Database.from_config(store)
        self._jobs = Jobs(self._database)
        artefacts = Artefacts(data.place(store, data.HUB))
        datasets, versions = Datasets(self._database, artefacts), Versions(self._database, artefacts)
        files = Files(self._database, self._jobs, VectorStores(self._database, self._jobs))
        blobs = Blobs(data.place(store, data.FILES))
        self._freezing = Freezing(self._database, self._jobs, datasets, files, blobs, work / "datasets")
        self._tuner = Tuner(tuning, work, datasets, versions, artefacts)
        self._working: asyncio.Task[None] | None = None

    def configure(self, catalog: Catalog) -> None:
        """Takes the models that jobs may begin with."""
        self._tuner.configure({m.name: m for m in catalog.models if isinstance(m, LlamaCppModel) and m.task == "chat"})

    async def start(self) -> None:
        """Starts to work."""
        await self._database.start()
        self._working = asyncio.create_task(self._work())

    async def check_health(self) -> None:
        """Raises when a worker has ended, so that Serve replaces the replica."""
        if self._working is not None and self._working.done():
            raise RuntimeError("a job worker has ended")

    async def close(self) -> None:
        """Interrupts the running jobs, each with a last checkpoint, and releases them."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        await self._database.close()

    async def _work(self) -> None:
        workers = [
            Worker(
                self._jobs,
                {kind: counted(handler) for kind, handler in handlers.items()},
                lane="",
                lease_s=self._lease_s,
            )
            for handlers in (self._freezing.handlers, self._tuner.handlers)
        ]
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker.run())
            group.create_task(self._sweep())

    async def _sweep(self) -> None:
        """Removes the folders of jobs that ended elsewhere: cancelled, or given up."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                await self.sweep()
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> None:
        """Removes the folders of jobs that are not unfinished."""
        folders = await asyncio.to_thread(lambda: [*self._tuner.folders.glob("job_*")])
        for folder in folders:
            if not await self._is_unfinished(folder.name):
                log.info("the files of %s are removed: it has ended", folder.name)
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    @uninterrupted
    async def _is_unfinished(self, id: str) -> bool:
        query = select(jobs.c.id).where(jobs.c.id == id, UNFINISHED)
        async with self._database.read() as connection:
            return (await connection.execute(query)).first() is not None
