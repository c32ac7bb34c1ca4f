"""The steps of the command once Ray runs: find the documents that remain, prepare and commit them."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from serving.core.managed import managed
from serving.core.principal import Principal
from serving.retrieval.bulk import prepare
from serving.retrieval.bulk.errors import BulkError
from serving.retrieval.bulk.load import LoadTarget, Rate, clear, find, load, split
from serving.retrieval.bulk.prepare import PreparedDocument, Source
from serving.retrieval.embedders.local import LocalEmbedder
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.embedders.precomputed import PrecomputedVectors
from serving.retrieval.errors import IncompatibleCollection
from serving.retrieval.index import CollectionIndex
from serving.retrieval.indexes import manifest
from serving.store.access import Access
from serving.store.jobs.queue import Jobs
from serving.store.objects import data
from serving.store.objects.blobs import Blobs
from serving.store.relational.database import Database
from serving.store.upkeep import loading
from serving.store.upkeep import options as store_options
from serving.store.upkeep.indexes import Indexes
from serving.store.users import Users
from serving.store.vector_store import OPTIMIZE
from serving.store.vector_stores import VectorStores


async def run(options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, str]:
    """Returns, by path, why documents were not loaded. Raises `BulkError`, `StoreError` and `InvalidValue`."""
    if not options.folder.is_dir():
        raise BulkError(f"{options.folder} is not a folder")
    try:
        store = store_options.chosen(options)
    except LookupError as e:
        raise BulkError(str(e.args[0])) from None
    folder = options.folder.absolute()
    database = Database.from_config(store.model_copy(update={"statement_timeout_s": 3600.0}))
    try:
        await database.require_current()
        principal = await _principal(database, options.tenant, options.user)
        jobs = Jobs(database)
        stores = VectorStores(database, jobs)
        store_id = await stores.named(principal.tenant, principal.user, options.collection)
        if store_id and managed((await stores.get(principal, store_id)).metadata):
            raise BulkError(
                f"{options.collection} is synchronised with a folder of the configuration; use another collection"
            )
        there = await loading.attached(database, principal, store_id) if store_id else {}
        left, outcome = await asyncio.to_thread(lambda: split(find(folder), there))
        total = len(left) + outcome.there + len(outcome.failed)
        if not total:
            raise BulkError(f"{folder} contains no documents")
        say(f"{total} documents: {outcome.there} were loaded before, {len(left)} are left")
        if options.dry_run:
            return outcome.failed
        access = Access(options.share_with_users, options.share_with_groups) if options.restricted else None
        if store_id is None:
            store_id = (await stores.create(principal, name=options.collection, access=access)).id
        uri, how = data.collections(store)
        names = await Indexes(database).get(store_id)
        if names.next is not None:
            raise BulkError(f"{options.collection} is being re-indexed for another embedder; try again later")
        embedder = OnnxEmbedder()
        how_built = manifest(LocalEmbedder(embedder))
        try:
            index = CollectionIndex.open(uri, names.live, how_built, create=True, options=how)
        except IncompatibleCollection as e:
            raise BulkError(f"{options.collection} was built with other settings than this command's: {e}") from None
        blobs = Blobs(data.place(store, data.FILES))
        target = LoadTarget(database, blobs, names.live, index, principal, store_id, access)
        await clear(target)
        if left:
            documents = _documents(options, folder, left, embedder)
            await load(target, folder, documents, outcome, options.batch, Rate(len(left), say))
        # The stack later indexes the new rows; until then searches scan them.
        target_of_job = {"vector_store_id": store_id}
        await jobs.enqueue(principal, OPTIMIZE, target_of_job, group=(store_id, None), dedupe_key=store_id)
        say(f"loaded {outcome.documents} documents, {outcome.chunks} chunks, into {store_id}")
        return outcome.failed
    finally:
        await database.close()


async def _principal(database: Database, tenant: str, user: str) -> Principal:
    """Returns the owner of the documents, who must be an existing user."""
    await Users(database).get(Principal(tenant, user, "bulk"), user)
    return Principal(tenant, user, "bulk")


def _documents(
    options: argparse.Namespace, folder: Path, left: Sequence[Source], embedder: OnnxEmbedder
) -> Iterator[PreparedDocument]:
    if options.here:
        return prepare.here(folder, left, PrecomputedVectors(embedder), options.batch)
    from serving.retrieval.bulk.ray_data import prepared

    return prepared(folder, left, options.embedders)
