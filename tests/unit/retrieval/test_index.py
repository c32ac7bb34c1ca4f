"""The index of a collection: ingestion, replacement, deletion, isolation, hostile ids and access lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.retrieval.errors import CollectionNotFound, IncompatibleCollection
from serving.retrieval.manifest import CollectionManifest
from serving.retrieval.types import Chunk, Hit, Mode

if TYPE_CHECKING:
    from serving.retrieval.index import CollectionIndex

MANIFEST = CollectionManifest("test-embedder", 8, 200, 30, "1")
EAST = np.eye(8, dtype=np.float32)[0]
HOSTILE = [
    "a' OR '1'='1",
    "'; DROP TABLE x; --",
    "\\' OR 1=1 --",
    '" OR ""="',
    "x\x00y",
    "%",
    "`tenant`",
    "$1",
    "tenant",
]


def open_index(
    folder: Path, manifest: CollectionManifest = MANIFEST, name: str = "vs_1", *, create: bool = False
) -> CollectionIndex:
    from serving.retrieval.index import CollectionIndex  # LanceDB takes seconds to import

    return CollectionIndex.open(str(folder), name, manifest, create=create)


@pytest.fixture
def index(tmp_path: Path) -> CollectionIndex:
    return open_index(tmp_path, create=True)


def put(index: CollectionIndex, file_id: str, *texts: str, tenant: str = "t", seed: int = 0) -> None:
    chunks = [Chunk(i, "Title", "Heading", text, i * 10, i * 10 + 5, i + 1) for i, text in enumerate(texts)]
    vectors = np.random.default_rng(seed).normal(size=(len(texts), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index.upsert_file(tenant, file_id, f"{file_id}.md", chunks, vectors)


def texts(hits: Sequence[Hit]) -> set[str]:
    return {hit.text for hit in hits}


def search(index: CollectionIndex, query: str = "", mode: Mode = "hybrid", tenant: str = "t") -> list[Hit]:
    return index.search(tenant, query, EAST, 50, mode)


def test_an_empty_collection_finds_nothing(index: CollectionIndex) -> None:
    assert [search(index, "word", mode) for mode in get_args(Mode)] == [[], [], []]
    index.optimize()
    assert index.stats().chunks == 0


def test_a_hit_has_all_fields(index: CollectionIndex) -> None:
    chunk = Chunk(0, "Guide", "Ports > API", "The port is 8080.", 40, 57, 3)
    index.upsert_file("t", "f", "guide.pdf", [chunk], EAST[None])
    (hit,) = search(index, "port")
    assert hit.bm25_score > 0
    assert replace(hit, bm25_score=0.0) == Hit(
        "f:0", "f", "guide.pdf", "Guide", "Ports > API", "The port is 8080.", 40, 57, 3, 1.0, 1.0, 0.0
    )


def test_unrelated_texts_have_similarity_zero_with_any_embedder(index: CollectionIndex) -> None:
    chunks = [Chunk(i, "", "", text, 0, 1, None) for i, text in enumerate(("the same", "unrelated"))]
    away = np.zeros(8, np.float32)
    away[:2] = 0.6, 0.8
    index.upsert_file("t", "f", "f.md", chunks, np.stack([EAST, away]))
    index.unrelated = 0.6
    similarities = {hit.text: hit.dense_score for hit in search(index, mode="dense")}
    assert similarities == {"the same": pytest.approx(1), "unrelated": pytest.approx(0, abs=1e-6)}


def test_new_rows_are_found_at_once_before_and_after_indexing(index: CollectionIndex) -> None:
    put(index, "a", "the zebra runs")
    assert texts(search(index, "zebra", "bm25")) == {"the zebra runs"}
    index.optimize()
    assert index.stats().unindexed_chunks == 0
    put(index, "b", "the lion sleeps")
    assert index.stats().unindexed_chunks == 1
    assert texts(search(index, "lions", "bm25")) == {"the lion sleeps"}
    assert texts(search(index, "", "dense")) == {"the zebra runs", "the lion sleeps"}


@pytest.mark.parametrize("optimized", [False, True])
def test_a_new_ingestion_replaces_a_file_in_one_version(index: CollectionIndex, optimized: bool) -> None:
    put(index, "a", "old one", "old two", "old three")
    put(index, "b", "other")
    if optimized:
        index.optimize()
    before = index._table.version
    put(index, "a", "new one")
    assert index._table.version == before + 1
    assert texts(search(index)) == {"new one", "other"}
    assert search(index, "old", "bm25") == []
    assert (index.stats().chunks, index.stats().files) == (2, 2)


def test_a_file_without_chunks_is_removed(index: CollectionIndex) -> None:
    put(index, "a", "something")
    put(index, "a")
    assert index.stats().chunks == 0


def test_deleted_files_are_not_found(index: CollectionIndex) -> None:
    put(index, "a", "apple")
    put(index, "b", "banana")
    index.delete_file("t", "a")
    index.delete_file("t", "a")
    assert texts(search(index)) == {"banana"}
    assert search(index, "apple", "bm25") == []


def test_purge_removes_deleted_files_from_disk(index: CollectionIndex, tmp_path: Path) -> None:
    put(index, "a", "tangerine")
    put(index, "b", "banana")
    index.optimize()
    index.delete_file("t", "a")
    with pytest.warns(UserWarning, match="removes every version"):
        index.optimize(purge=True)
    left = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"banana" in left
    assert b"tangerine" not in left


@pytest.mark.parametrize("mode", get_args(Mode))
def test_tenants_do_not_see_each_other(index: CollectionIndex, mode: Mode) -> None:
    put(index, "a", "common word of one", tenant="one")
    put(index, "a", "common word of two", tenant="two")
    index.optimize()
    put(index, "b", "common word more of two", tenant="two")
    assert texts(search(index, "common", mode, "one")) == {"common word of one"}
    assert search(index, "common", mode, "three") == []


def test_tenants_cannot_change_each_others_files(index: CollectionIndex) -> None:
    put(index, "a", "of one", tenant="one")
    put(index, "a", "of two", tenant="two")
    index.delete_file("two", "a")
    assert texts(search(index, "", "dense", "one")) == {"of one"}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_values_are_not_parsed_as_sql(index: CollectionIndex, hostile: str) -> None:
    put(index, "a", "secret of one", tenant="one")
    assert search(index, "secret", tenant=hostile) == []
    assert index.search("one", "secret", EAST, 9, file_ids=[hostile]) == []
    index.delete_file("one", hostile)
    index.delete_file(hostile, "a")
    put(index, hostile, "mine", tenant="one")
    assert texts(search(index, tenant="one")) == {"secret of one", "mine"}
    assert texts(index.search("one", "", EAST, 9, file_ids=[hostile])) == {"mine"}
    index.delete_file("one", hostile)
    assert texts(search(index, tenant="one")) == {"secret of one"}


@pytest.mark.parametrize("query", ['"', "a AND (", "text:*", "\x00", "+-&|!(){}[]^~*?:\\/", "word " * 100_000, "😀"])
def test_any_query_is_searched_as_plain_words(index: CollectionIndex, query: str) -> None:
    put(index, "a", "word")
    assert texts(search(index, query)) == {"word"}


def test_a_search_is_limited_to_the_given_files(index: CollectionIndex) -> None:
    for name in "abc":
        put(index, name, f"word of {name}")
    assert texts(index.search("t", "word", EAST, 9, file_ids=["a", "c"])) == {"word of a", "word of c"}
    assert index.search("t", "word", EAST, 9, file_ids=[]) == []


def test_the_vector_index_agrees_with_a_full_scan(index: CollectionIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.retrieval.index.VECTOR_INDEX_ROWS", 300)
    put(index, "a", *(f"number {i}" for i in range(400)))
    exact = [hit.chunk_id for hit in index.search("t", "", EAST, 10, "dense")]
    index.optimize()
    assert index.stats().vector_index
    put(index, "b", "later", seed=7)
    found = [hit.chunk_id for hit in index.search("t", "", EAST, 11, "dense")]
    assert set(exact) <= set(found)
    assert texts(index.search("t", "", EAST, 500, "dense")) >= {"later"}
    put(index, "c", *(f"further {i}" for i in range(1300)))
    index.optimize()
    assert [i.name for i in index._table.list_indices() if i.columns == ["vector"]] == ["vector_1701"]


def test_other_handles_see_changes_at_once(index: CollectionIndex, tmp_path: Path) -> None:
    other = open_index(tmp_path)
    put(index, "a", "fresh")
    assert texts(search(other, "fresh")) == {"fresh"}
    index.delete_file("t", "a")
    assert search(other, "fresh") == []


def test_drop_removes_the_index(index: CollectionIndex, tmp_path: Path) -> None:
    assert [p.stem for p in tmp_path.iterdir()] == ["vs_1"]
    index.drop()
    index.drop()
    assert [p.stem for p in tmp_path.iterdir()] == []
    with pytest.raises(CollectionNotFound):
        open_index(tmp_path)


@pytest.mark.parametrize("change", [{"embedder": "another"}, {"dimensions": 16}, {"max_tokens": 100}, {"parser": "2"}])
def test_a_different_manifest_requires_a_new_index(
    index: CollectionIndex, tmp_path: Path, change: dict[str, object]
) -> None:
    put(index, "a", "word")
    index.optimize()
    wanted = replace(MANIFEST, **change)  # type: ignore[arg-type]
    for create in (False, True):
        with pytest.raises(IncompatibleCollection, match=next(iter(change))):
            open_index(tmp_path, wanted, create=create)
    assert open_index(tmp_path, create=True).stats().chunks == 1


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 200, "a\x00", ".hidden"])
def test_a_collection_id_cannot_be_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(CollectionNotFound):
        open_index(tmp_path, name=name, create=True)


def test_vectors_of_a_wrong_dimension_are_refused(index: CollectionIndex) -> None:
    with pytest.raises(ValueError, match="vectors"):
        index.upsert_file("t", "a", "a", [], np.zeros((1, 8), np.float32))


NAMES = st.sampled_from([f"user:{name}" for name in HOSTILE] + ["user:a", "group:a", "group:b", "user:"])


@given(st.lists(st.none() | st.frozensets(NAMES, min_size=1), min_size=1, max_size=5), st.frozensets(NAMES), st.data())
@settings(max_examples=15)
def test_a_search_finds_only_chunks_its_principals_may_read(
    tmp_path_factory: pytest.TempPathFactory,
    lists: list[frozenset[str] | None],
    names: frozenset[str],
    data: st.DataObject,
) -> None:
    index = open_index(tmp_path_factory.mktemp("index"), create=True)
    for n, access in enumerate(lists):
        chunk = Chunk(0, "T", "H", f"word {n}", 0, 6, None)
        index.upsert_file("t", f"f{n}", "f.md", [chunk], EAST[None], sorted(access) if access is not None else None)
    if data.draw(st.booleans()):
        index.optimize()
    withheld = data.draw(st.sets(st.sampled_from([f"f{n}" for n in range(len(lists))])))
    mine = {f"f{n}" for n, access in enumerate(lists) if access is None or access & names} - withheld
    for mode in get_args(Mode):
        found = index.search("t", "word", EAST, 50, mode, names=names, withheld=withheld)
        assert {hit.file_id for hit in found} == mine
        assert index.search("u", "word", EAST, 50, mode, names=names) == []


def test_an_index_without_access_lists_is_migrated(tmp_path: Path, index: CollectionIndex) -> None:
    put(index, "old", "an old word")
    import lancedb

    database = lancedb.connect(str(tmp_path))
    database.open_table("vs_1").drop_columns(["access"])
    older, reader = (open_index(tmp_path) for _ in range(2))
    assert texts(search(reader, "word")) == {"an old word"}
    older.upsert_file("t", "new", "new.md", [Chunk(0, "", "", "a new word", 0, 10, None)], EAST[None], ["user:a"])
    assert texts(search(reader, "word")) == {"an old word"}
    assert texts(reader.search("t", "word", EAST, 50, names=["user:a"])) == {"an old word", "a new word"}


QUOTED = ('"api key"', '"', '""', '""""', '"key"', 'an "api key"', '"api key', "“api key”", '"a" "b"', '"the of"')


@pytest.mark.parametrize("query", QUOTED)
@pytest.mark.parametrize("mode", get_args(Mode))
def test_unbalanced_quotes_are_searched_as_words(index: CollectionIndex, query: str, mode: Mode) -> None:
    put(index, "a", "an api key opens it", "the key of an api")
    for _ in range(2):
        found = search(index, query, mode)
        assert len(found) == 2 or mode == "bm25"
        index.optimize()


@pytest.mark.parametrize("query", ['"api key"', "“api  KEY”", 'what is an "api key"?', '"an api key" and "opens it"'])
def test_a_quoted_phrase_is_found_as_a_phrase(index: CollectionIndex, query: str) -> None:
    put(index, "a", "an api key opens it", "the key of an api, and what opens")
    index.optimize()
    assert texts(search(index, query, "bm25")) == {"an api key opens it"}
    assert len(search(index, query)) == 2, "the other leg finds by meaning"


def test_a_phrase_without_matches_is_searched_by_its_words(index: CollectionIndex) -> None:
    put(index, "a", "the key of an api")
    index.optimize()
    assert texts(search(index, '"api key"', "bm25")) == {"the key of an api"}


def test_an_index_built_before_phrases_searches_words_until_rebuilt(index: CollectionIndex, tmp_path: Path) -> None:
    import lancedb
    from lancedb.index import FTS

    put(index, "a", "an api key opens it", "the key of an api")
    lancedb.connect(str(tmp_path)).open_table("vs_1").create_index("body", config=FTS(), name="body_idx")
    assert index.stats().unindexed_chunks == 0
    assert len(search(index, '"api key"', "bm25")) == 2
    index.optimize()
    assert texts(search(index, '"api key"', "bm25")) == {"an api key opens it"}
    assert index.stats().unindexed_chunks == 0
    assert {i.name for i in lancedb.connect(str(tmp_path)).open_table("vs_1").list_indices()} >= {"body_positions"}
