"""A collection of chunks in LanceDB: a table with a BM25 index and, once it is large, a vector index."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial, reduce, wraps
from math import isqrt
from operator import or_
from typing import Any, ParamSpec, TypeVar, cast

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.expr import Expr, col, lit
from lancedb.index import FTS, Bitmap, BTree, IvfSq
from lancedb.query import (
    BooleanQuery,
    FullTextQuery,
    LanceFtsQueryBuilder,
    LanceVectorQueryBuilder,
    MatchQuery,
    Occur,
    PhraseQuery,
)
from lancedb.table import Table

from serving.retrieval.chunk_table import (
    ACCESS,
    MANIFEST,
    IndexedFile,
    Vector,
    access_digest,
    chunk_rows,
    row_chunks,
    row_dicts,
    row_hit,
    table_schema,
    with_vectors,
)
from serving.retrieval.errors import CollectionNotFound
from serving.retrieval.fuse import DEPTH, fuse
from serving.retrieval.manifest import CollectionManifest
from serving.retrieval.types import Chunk, Hit, Mode
from serving.retrieval.vectors import stretched
from serving.store.errors import StoreUnavailable
from serving.store.objects import bucket

MAX_QUERY_CHARACTERS = 4_000
"""The BM25 leg uses only this much of a query: each term requires a walk through its postings."""

MAX_PHRASES = 8
"""Number of quoted phrases of a query that are matched as phrases."""

_WORDS = "body_positions"
"""The BM25 index with word positions: 1.7 times as large as without, half the text's size."""
_WORDS_BEFORE = "body_idx"
"""The index without positions of collections from an earlier release: it finds words, but no phrases."""

VECTOR_INDEX_ROWS = 10_000
"""Below this size an exact scan is as fast (about 2 ms per 1,000 rows on one core)."""
_PROBES = 64
"""Minimum number of partitions to search; more are searched if too few chunks match the conditions."""
_ALL_PROBES = 0
EXACT_FILES = 500
"""With at most this many files, their chunks are compared one by one, which is faster than searching the partitions."""
REWRITTEN_TOGETHER = 1_000

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_RESULT = ["chunk_id", "file_id", "file_name", "title", "heading", "body", "start", "end", "page", "vector"]


P = ParamSpec("P")
T = TypeVar("T")
Connect = Callable[[], lancedb.DBConnection]


def _explained(method: Callable[P, T]) -> Callable[P, T]:
    """Converts LanceDB's errors about an object store, which may have any type, to `StoreUnavailable`."""

    @wraps(method)
    def explained(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except (OSError, RuntimeError, ValueError) as e:
            if reason := bucket.explain(e):
                raise StoreUnavailable(f"the collections' bucket cannot be used: {reason}") from e
            raise

    return explained


@dataclass(frozen=True, slots=True)
class Stats:
    """Size of a collection. `unindexed_chunks` are found by a scan until `optimize` runs."""

    chunks: int
    files: int
    unindexed_chunks: int
    vector_index: bool


class CollectionIndex:
    """One collection. Safe to share between threads; several processes may read and write it.

    Writes of other processes are visible immediately: each call opens the newest version of the table.
    """

    def __init__(self, connect: Connect, collection_id: str, table: Table, manifest: CollectionManifest) -> None:
        self._connect = connect
        self._id = collection_id
        self._table = table
        self.manifest = manifest
        self.unrelated = 0.0
        """Cosine of unrelated texts, a property of the embedder."""
        self._lists = False
        self._legs = ThreadPoolExecutor(max_workers=2, thread_name_prefix="search")

    @classmethod
    @_explained
    def open(
        cls,
        uri: str,
        collection_id: str,
        manifest: CollectionManifest,
        *,
        create: bool = False,
        options: Mapping[str, str] | None = None,
        any_embedder: bool = False,
    ) -> CollectionIndex:
        """Opens (or creates) a collection under `uri`, a folder or an object store that is accessed with `options`.

        Raises `CollectionNotFound`, or `IncompatibleCollection` when it has another manifest; with `any_embedder`, the
        embedder may differ. This and every other method raises `StoreUnavailable` when the object store fails.
        """
        _require_id(collection_id)
        connect = partial(
            lancedb.connect, uri, read_consistency_interval=timedelta(0), storage_options=dict(options or {}) or None
        )
        database = connect()
        table = _open(database, collection_id)
        if table is None and create:
            with suppress(ValueError):  # another process created it first: open it and compare the manifests
                database.create_table(collection_id, schema=table_schema(manifest))
            table = _open(database, collection_id)
        if table is None:
            raise CollectionNotFound(f"there is no collection {collection_id}")
        found = CollectionManifest.from_json((table.schema.metadata or {}).get(MANIFEST, b""))
        found.require(manifest.of_embedder(found.embedder, found.dimensions) if any_embedder else manifest)
        return cls(connect, collection_id, table, found)

    def upsert_file(
        self,
        tenant: str,
        file_id: str,
        file_name: str,
        chunks: Sequence[Chunk],
        vectors: Vector,
        access: Sequence[str] | None = None,
    ) -> None:
        """`upsert_files` for one file."""
        self.upsert_files([IndexedFile(tenant, file_id, file_name, chunks, vectors, access)])

    @_explained
    def upsert_files(self, files: Sequence[IndexedFile]) -> None:
        """Replaces all chunks of each file in one version of the table: readers see either the old or the new files.

        The caller must prevent concurrent writes of the same file. A table from before access lists gets their column.
        """
        for file in files:
            if file.vectors.shape != (len(file.chunks), self.manifest.dimensions):
                raise ValueError("vectors do not match the chunks")
        if not self._has_lists():
            with suppress(ValueError):  # another process did it first
                self._table.add_columns({ACCESS.name: "''"})
        schema = self._table.schema
        rows = pa.concat_tables([chunk_rows(file, schema) for file in files])
        self._replace(rows, [(file.tenant, file.file_id) for file in files])

    @_explained
    def files(self) -> set[tuple[str, str]]:
        """Returns the tenants and ids of all files."""
        return set(self.chunks_of_files())

    @_explained
    def chunks_of_files(self) -> dict[tuple[str, str], int]:
        """Returns the number of chunks of each file, by tenant and id."""
        found = self._table.search().select(["tenant", "file_id"]).to_arrow().group_by(["tenant", "file_id"])
        rows = found.aggregate([([], "count_all")]).to_pylist()
        return {(row["tenant"], row["file_id"]): row["count_all"] for row in rows}

    @_explained
    def rows_of(self, files: Sequence[tuple[str, str]]) -> pa.Table:
        """Returns the rows of these files, without vectors."""
        columns = [name for name in self._table.schema.names if name != "vector"]
        where = reduce(or_, (_of_file(tenant, file_id) for tenant, file_id in files))
        return self._table.search().where(where).select(columns).to_arrow()

    @_explained
    def chunks_of(self, tenant: str, file_id: str, wanted: range) -> list[Chunk]:
        """Returns the chunks of a file with these ordinals, in order; those below 0 count from the last chunk."""
        mine = _of_file(tenant, file_id)
        end = self._table.search().where(mine).select(["ordinal"]).to_arrow().num_rows if wanted.start < 0 else 0
        columns = [name for name in self._table.schema.names if name != "vector"]
        here = (col("ordinal") >= lit(end + wanted.start)) & (col("ordinal") < lit(end + wanted.stop))
        found = self._table.search().where(mine & here).select(columns).to_arrow()
        return sorted(row_chunks(found), key=lambda chunk: chunk.ordinal)

    @_explained
    def copy(self, rows: pa.Table, vectors: Vector) -> None:
        """Replaces files by the `rows_of` another index, with vectors of this index's embedder."""
        files = rows.select(["tenant", "file_id"]).group_by(["tenant", "file_id"]).aggregate([]).to_pylist()
        self._replace(with_vectors(rows, vectors, self._table.schema), [(f["tenant"], f["file_id"]) for f in files])

    def _replace(self, rows: pa.Table, files: Sequence[tuple[str, str]]) -> None:
        old = reduce(or_, (_of_file(tenant, file_id) for tenant, file_id in files))
        merge = self._table.merge_insert(["tenant", "chunk_id"])
        merge = merge.when_matched_update_all().when_not_matched_insert_all()
        merge.when_not_matched_by_source_delete(old).execute(rows)

    @_explained
    def delete_file(self, tenant: str, file_id: str) -> None:
        """Removes a file's chunks from every search immediately; its bytes are removed by `optimize(purge=True)`."""
        self._table.delete(_of_file(tenant, file_id))

    @_explained
    def drop(self) -> None:
        """Removes the collection and its files; does nothing if it does not exist."""
        try:
            self._connect().drop_table(self._id)
        except (ValueError, FileNotFoundError) as e:
            if bucket.explain(e):
                raise

    @_explained
    def search(
        self,
        tenant: str,
        query_text: str,
        query_vector: Vector,
        top_k: int,
        mode: Mode = "hybrid",
        file_ids: Collection[str] | None = None,
        *,
        names: Collection[str] = (),
        withheld: Collection[str] = (),
    ) -> list[Hit]:
        """Returns at most `top_k` chunks of the tenant, best first; with `file_ids`, only of these files.

        Chunks with an access list are found only with one of its `names`; chunks of `withheld` files are never found.
        """
        if file_ids is not None and not file_ids:
            return []
        mine = col("tenant") == lit(tenant)
        if file_ids is not None:
            mine = mine & col("file_id").isin(list(file_ids))
        if withheld:
            mine = mine & ~col("file_id").isin(list(withheld))
        where = mine & _readable(names) if self._has_lists() else mine
        exact = file_ids is not None and len(file_ids) <= EXACT_FILES
        depth = max(DEPTH, top_k)
        dense = self._legs.submit(self._dense, query_vector, where, depth, exact) if mode != "bm25" else None
        bm25 = self._bm25(query_text, where, depth) if mode != "dense" else []
        rows = {(row["chunk_id"]): row for row in [*bm25, *(dense.result() if dense else [])]}
        unit = np.asarray(query_vector, np.float32)
        cosine = {key: self._similarity(unit, row["vector"]) for key, row in rows.items()}
        lexical = {row["chunk_id"]: float(row["_score"]) for row in bm25}
        scores = fuse(lexical, cosine, {"dense": 1.0, "bm25": 0.0, "hybrid": None}[mode])
        best = sorted(rows, key=lambda key: (-scores[key], -lexical.get(key, 0.0), key))[:top_k]
        return [row_hit(rows[key], scores[key], cosine[key], lexical.get(key, 0.0)) for key in best]

    @_explained
    def optimize(self, *, purge: bool = False) -> None:
        """Adds new rows to the indexes, creating them if necessary, and compacts files.

        `purge` also removes deleted rows and old versions from disk; it requires a lease that excludes readers and
        writers in other processes.
        """
        indexes = {index.name for index in self._table.list_indices()}
        wanted: dict[str, tuple[str, FTS | Bitmap | BTree]] = {_WORDS: ("body", FTS(with_position=True))}
        wanted |= {"tenant_idx": ("tenant", Bitmap()), "file_id_idx": ("file_id", BTree())}
        for name, (column, config) in wanted.items():
            if name not in indexes and self._table.count_rows():
                self._table.create_index(column, config=config, name=name)
                if name == _WORDS and _WORDS_BEFORE in indexes:
                    self._table.drop_index(_WORDS_BEFORE)
        self._index_vectors([name for name in indexes if name.startswith("vector_")])
        age = timedelta(0) if purge else timedelta(hours=1)
        self._table.optimize(cleanup_older_than=age, delete_unverified=purge)

    @_explained
    def purge(self) -> None:
        """Rewrites the collection, so that no deleted rows or old versions stay on disk.

        Compaction alone keeps files of which only few rows were deleted (measured: 1 of 200). It requires a lease that
        excludes writers; a concurrent search of the old version fails.
        """
        self._table.add(self._table.search().to_batches(REWRITTEN_TOGETHER), mode="overwrite")
        self.optimize(purge=True)

    @_explained
    def stats(self) -> Stats:
        rows = self._table.count_rows()
        names = {index.name for index in self._table.list_indices()}
        words = next((name for name in (_WORDS, _WORDS_BEFORE) if name in names), None)
        indexed = self._table.index_stats(words) if words else None
        return Stats(
            chunks=rows,
            files=len(self.files()),
            unindexed_chunks=indexed.num_unindexed_rows if indexed else rows,
            vector_index=any(name.startswith("vector_") for name in names),
        )

    def _similarity(self, query: Vector, vector: Vector) -> float:
        """Returns the cosine of unit vectors, rescaled so that 0 is the cosine of unrelated texts."""
        cosine = float(np.dot(query, np.asarray(vector, np.float32)))
        return stretched(cosine, self.unrelated)

    def _has_lists(self) -> bool:
        """Returns whether the table has the column of access lists, which is never removed."""
        self._lists = self._lists or ACCESS.name in self._table.schema.names
        return self._lists

    def _index_vectors(self, existing: list[str]) -> None:
        """Trains the index again when the table has quadrupled: the index's name contains the number of rows at its
        training.
        """
        rows = self._table.count_rows()
        trained = max((int(name.removeprefix("vector_")) for name in existing), default=0)
        if rows < VECTOR_INDEX_ROWS or rows < 4 * trained:
            return
        config = IvfSq(distance_type="cosine", num_partitions=isqrt(rows), max_iterations=10, sample_rate=64)
        self._table.create_index("vector", config=config, name=f"vector_{rows}")
        for name in existing:
            self._table.drop_index(name)

    def _dense(self, vector: Vector, where: Expr, depth: int, exact: bool) -> list[dict[str, Any]]:
        search = self._table.search(vector, vector_column_name="vector", query_type="vector")
        query = cast(LanceVectorQueryBuilder, search).distance_type("cosine").where(where, prefilter=True)
        query = query.bypass_vector_index() if exact else query.minimum_nprobes(_PROBES).maximum_nprobes(_ALL_PROBES)
        return row_dicts(query.select([*_RESULT, "_distance"]).limit(depth).to_arrow())

    def _bm25(self, text: str, where: Expr, depth: int) -> list[dict[str, Any]]:
        """Returns chunks with words of the text; if it quotes phrases that any chunk contains, only those chunks."""
        text = text[:MAX_QUERY_CHARACTERS]
        words = MatchQuery(text, "body")  # type: ignore[call-arg]  # the plugin overlooks defaults of LanceDB's fields
        if quoted := phrases(text):
            must = [(Occur.MUST, PhraseQuery(phrase, "body")) for phrase in quoted]  # type: ignore[call-arg]
            try:
                found = self._lexical(BooleanQuery([*must, (Occur.SHOULD, words)]), where, depth)
            except ValueError as e:
                if "position" not in str(e):
                    raise
                found = []  # an index without positions, which `optimize` rebuilds
            if found:
                return found
        return self._lexical(words, where, depth)

    def _lexical(self, query: FullTextQuery, where: Expr, depth: int) -> list[dict[str, Any]]:
        # The query is an object, never a string: LanceDB would parse quotes in it.
        search = cast(LanceFtsQueryBuilder, self._table.search(query, query_type="fts"))
        return row_dicts(search.where(where, prefilter=True).select([*_RESULT, "_score"]).limit(depth).to_arrow())


def phrases(text: str) -> list[str]:
    """Returns the quoted phrases of several words, at most `MAX_PHRASES`."""
    parts = text.replace("“", '"').replace("”", '"').replace("„", '"').split('"')
    closed = parts[1 : len(parts) - 1 : 2]
    return [" ".join(part.split()) for part in closed if len(part.split()) > 1][:MAX_PHRASES]


def _open(database: lancedb.DBConnection, collection_id: str) -> Table | None:
    try:
        return database.open_table(collection_id)
    except (ValueError, FileNotFoundError) as e:
        if bucket.explain(e):
            raise
        return None


def _require_id(collection_id: str) -> None:
    if not _ID.fullmatch(collection_id):
        raise CollectionNotFound("a collection id has only letters, digits, _ and -, at most 128 characters")


def _readable(names: Collection[str]) -> Expr:
    where = col(ACCESS.name) == lit("")
    for name in names:
        where = where | col(ACCESS.name).contains(access_digest(name))
    return where


def _of_file(tenant: str, file_id: str) -> Expr:
    return (col("tenant") == lit(tenant)) & (col("file_id") == lit(file_id))
