"""Searches with filters and access lists find the same files as a comparison of each file in Python."""

from __future__ import annotations

import asyncio
import operator
import random
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from serving.core.ids import new_id
from serving.core.principal import SCOPES_OF, STACK, Principal
from serving.protocol import filters
from serving.protocol.filters import Filter
from serving.retrieval import file_filter
from serving.retrieval.file_filter import FileFilter
from serving.retrieval.query_vectors import QueryVectors
from serving.retrieval.types import Chunk
from serving.store.access import Access

if TYPE_CHECKING:
    from serving.retrieval.replica import RetrievalReplica

ADMIN = Principal(STACK, "admin", "key_0", scopes=SCOPES_OF["admin"], role="admin")
READERS = [
    ADMIN,
    Principal(STACK, "anna", "key_1"),
    Principal(STACK, "bob", "key_2", groups=frozenset(("legal",))),
    Principal("acme", "anna", "key_3", groups=frozenset(("legal",))),
]
FILES = 30
KEYS = ["team", "year", "x'; DROP TABLE vs; --", '"$.a', "ключ"]
VALUES: list[Any] = ["legal", "sales", "", "' OR '1'='1", "Ü", 0, 1, 1.0, -2.5, 2024, True, False]
LISTS = [None, Access(), Access(users=["anna"]), Access(groups=["legal"])]
FILTER: TypeAdapter[Filter] = TypeAdapter(Filter)


def drawn(rng: random.Random, depth: int = 3) -> dict[str, Any]:
    if depth and rng.random() < 0.5:
        members = [drawn(rng, depth - 1) for _ in range(rng.randint(1, 3))]
        return {"type": rng.choice(["and", "or"]), "filters": members}
    kind = rng.choice(["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"])
    value = rng.choice(VALUES)
    if kind in ("in", "nin"):
        value = rng.sample(VALUES, rng.randint(0, 4))
    elif kind not in ("eq", "ne"):
        value = rng.choice([each for each in VALUES if not isinstance(each, bool)])
    return {"type": kind, "key": rng.choice(KEYS), "value": value}


def by_hand(wanted: Mapping[str, Any], attributes: Mapping[str, Any]) -> bool:
    if "filters" in wanted:
        answers = [by_hand(each, attributes) for each in wanted["filters"]]
        return all(answers) if wanted["type"] == "and" else any(answers)

    def alike(a: Any, b: Any) -> bool:
        return isinstance(a, str) == isinstance(b, str) and isinstance(a, bool) == isinstance(b, bool)

    kind, key, value = wanted["type"], wanted["key"], wanted["value"]
    if kind in ("ne", "nin"):
        return not by_hand({**wanted, "type": "eq" if kind == "ne" else "in"}, attributes)
    if key not in attributes:
        return False
    if kind == "in":
        return any(alike(attributes[key], each) and attributes[key] == each for each in value)
    compare = {"eq": operator.eq, "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}[kind]
    return alike(attributes[key], value) and compare(attributes[key], value)


def may_read(who: Principal, access: Access | None) -> bool:
    if who.tenant != STACK:
        return False
    return access is None or who.user in ("admin", *access.users) or bool(who.groups & set(access.groups))


@pytest.mark.parametrize("asked", [60, pytest.param(5000, marks=pytest.mark.soak)])
async def test_a_filtered_search_agrees_with_a_comparison_in_python(replica: RetrievalReplica, asked: int) -> None:
    replica._working.cancel()  # type: ignore[union-attr]  # the index is written here
    await asyncio.gather(replica._working, return_exceptions=True)  # type: ignore[arg-type]
    rng = random.Random(17)
    store = (await replica._stores.create(ADMIN, name="s")).id
    index = replica._indexes.open(store, create=True).index
    vector = np.eye(384, dtype=np.float32)[:1]
    files: dict[str, tuple[dict[str, Any], Access | None]] = {}
    for n in range(FILES):
        id, access = new_id("file"), rng.choice(LISTS)
        attributes = {key: rng.choice(VALUES) for key in rng.sample(KEYS, rng.randint(0, len(KEYS)))}
        form = {"filename": "f.txt", "purpose": "assistants", "kind": "text/plain", "sha256": "0" * 64}
        await replica._files.create(ADMIN, id, bytes=1, access=access, **form)
        made = await replica._stores.attach(ADMIN, store, id, attributes=attributes)
        chunk = Chunk(0, "T", "H", f"word {n}", 0, 6, None)
        index.upsert_file(STACK, id, "f.txt", [chunk], vector, made.access)
        files[id] = attributes, access
    found_some = 0
    for _ in range(asked):
        who, wanted = rng.choice(READERS), drawn(rng)
        hits = (await replica._search(who, store, QueryVectors("word"), FILES, FILTER.validate_python(wanted))).hits
        expected = {id for id, (has, access) in files.items() if may_read(who, access) and by_hand(wanted, has)}
        assert {hit.file_id for hit in hits} == expected, wanted
        found_some += bool(expected)
    assert found_some > asked / 4

    # Changed attributes apply from the next search, without a new ingestion of the file.
    id = next(iter(files))
    wanted = FILTER.validate_python({"type": "eq", "key": "moved", "value": True})
    assert (await replica._search(ADMIN, store, QueryVectors("word"), FILES, wanted)).hits == []
    await replica._stores.update_file(ADMIN, store, id, {"moved": True})
    assert [hit.file_id for hit in (await replica._search(ADMIN, store, QueryVectors("word"), FILES, wanted)).hits] == [
        id
    ]


class Stores:
    """A vector store whose files have different attributes."""

    async def attribute_groups(self, tenant: str, id: str, known: float | None) -> tuple[float, dict[str, list[str]]]:
        return 1.0, {f'{{"year": {n}}}': [f"file_{n}"] for n in range(5)}


async def test_a_filter_is_evaluated_once_and_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def predicate(wanted: Filter) -> Any:
        made.append(threading.current_thread().name)
        return filters.predicate(wanted)

    monkeypatch.setattr(file_filter, "predicate", predicate)
    wanted = FILTER.validate_python({"type": "in", "key": "year", "value": [1, 3, 9]})
    passing = await FileFilter(Stores()).matching_ids(ADMIN, "vs", wanted)  # type: ignore[arg-type]
    assert (passing, made) == (["file_1", "file_3"], ["file-filter_0"])
