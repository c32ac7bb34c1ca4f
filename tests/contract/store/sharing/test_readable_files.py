"""Which files a person may read now: by the lists of files, of vector stores, and of the stack's collections."""

from __future__ import annotations

from typing import Any

import pytest

from serving.core.principal import STACK, Principal
from serving.store.access import Access
from serving.store.files import Files
from serving.store.relational.database import Database
from serving.store.sharing.readable_files import ReadableFiles
from serving.store.users import ADMIN
from serving.store.vector_stores import VectorStores

BOB = Principal(tenant="acme", user="bob", key_id="key_b", groups=frozenset(("birds",)))
CAROL = Principal(tenant="acme", user="carol", key_id="key_c")
STACKS = Principal(STACK, ADMIN, "key_s")
GUEST = Principal(STACK, "guest", "key_g")


@pytest.fixture
def readable(database: Database, vector_stores: VectorStores) -> ReadableFiles:
    return ReadableFiles(database, vector_stores)


async def add(files: Files, who: Principal, access: Access | None = None) -> str:
    id = f"file-{len((await files.list(who)).items)}{who.tenant}{who.user}"
    await files.create(
        who, id, filename="a.md", purpose="assistants", bytes=3, sha256="0" * 64, kind="text/plain", access=access
    )
    return id


async def test_a_file_that_was_found_is_readable_while_it_can_be_found(
    readable: ReadableFiles, files: Files, vector_stores: VectorStores, alice: Principal, mallory: Principal
) -> None:
    everybodys = await add(files, alice)
    own = await add(files, alice, Access())
    birds = await add(files, alice, Access(groups=("birds",)))
    all = [everybodys, own, birds, "file-none", "\0"]
    assert set(await readable.findable(alice, all, {})) == set(), "they are in no vector store"
    open = await vector_stores.create(alice)
    for id in (everybodys, own, birds):
        await vector_stores.attach(alice, open.id, id)
    expected = {alice: {everybodys, own, birds}, BOB: {everybodys, birds}, CAROL: {everybodys}, mallory: set()}
    for who, ids in expected.items():
        assert set(await readable.findable(who, all, {})) == ids
    closed = await vector_stores.create(alice, access=Access(users=("carol",)))
    await vector_stores.attach(alice, closed.id, everybodys)
    assert set(await readable.findable(BOB, [everybodys], {})) == {everybodys}, "it may be found through another store"
    await vector_stores.attach(alice, open.id, everybodys, access=Access())
    assert set(await readable.findable(BOB, [everybodys], {})) == set(), "a new list counts before it is in the index"
    assert set(await readable.findable(CAROL, [everybodys], {})) == {everybodys}
    await vector_stores.detach(alice, open.id, everybodys)
    assert [set(await readable.findable(who, [everybodys], {})) for who in (alice, BOB, CAROL)] == [
        {everybodys},
        set(),
        {everybodys},
    ]


async def test_losing_the_store_with_the_list_opens_nothing(
    readable: ReadableFiles, files: Files, vector_stores: VectorStores, alice: Principal
) -> None:
    taken, left, deleted = [await add(files, alice) for _ in range(3)]
    closed = await vector_stores.create(alice, access=Access(users=("carol",)))
    for id in (taken, left, deleted):
        await vector_stores.attach(alice, closed.id, id)
    ids = [taken, left, deleted]
    assert [set(await readable.findable(who, ids, {})) for who in (BOB, CAROL)] == [set(), set(ids)]
    await vector_stores.detach(alice, closed.id, taken)
    await files.delete(alice, deleted)
    assert [set(await readable.findable(who, ids, {})) for who in (BOB, CAROL)] == [set(), {left}]
    await vector_stores.delete(alice, closed.id)
    for who in (alice, BOB, CAROL):
        assert set(await readable.findable(who, ids, {})) == set()


async def test_a_file_of_a_question_needs_no_store(
    readable: ReadableFiles, files: Files, vector_stores: VectorStores, alice: Principal, mallory: Principal
) -> None:
    everybodys, own = await add(files, alice), await add(files, alice, Access())
    ids = [everybodys, own, "file-none", "\0"]
    expected = {alice: {everybodys, own}, BOB: {everybodys}, mallory: set()}
    for who, readables in expected.items():
        assert set(await readable.attached(who, ids)) == readables
    closed = await vector_stores.create(alice, access=Access(users=("carol",)))
    await vector_stores.attach(alice, closed.id, everybodys)
    assert [set(await readable.attached(who, [everybodys])) for who in (BOB, CAROL)] == [set(), {everybodys}]
    open = await vector_stores.create(alice)
    await vector_stores.attach(alice, open.id, everybodys)
    assert set(await readable.attached(BOB, [everybodys])) == {everybodys}
    await files.delete(alice, everybodys)
    assert set(await readable.attached(alice, [everybodys])) == set()


async def test_collections_of_the_stack_count_as_assistants_read_them(
    readable: ReadableFiles, files: Files, vector_stores: VectorStores, alice: Principal
) -> None:
    made: dict[str, str] = {}
    for name, access in (("law", None), ("staff", Access()), ("mixed", None)):
        store = await vector_stores.create(STACKS, name=name, access=access)
        made[name] = await add(files, STACKS, Access() if name == "staff" else None)
        await vector_stores.attach(STACKS, store.id, made[name])
        if name == "mixed":
            made["listed"] = await add(files, STACKS, Access())
            await vector_stores.attach(STACKS, store.id, made["listed"])
    lures = await vector_stores.create(GUEST, name="law")  # another's store of the same name is no collection
    lure = await add(files, GUEST)
    await vector_stores.attach(GUEST, lures.id, lure)
    ids = [*made.values(), lure]

    async def among(who: Principal, **collections: bool) -> set[Any]:
        return set(await readable.findable(who, ids, collections))

    assert await among(alice) == set()
    assert await among(alice, law=False) == {made["law"]}
    assert await among(alice, law=False, staff=False, mixed=False) == {made["law"], made["mixed"]}
    assert await among(alice, staff=True) == {made["staff"]}, "the configuration says who may read it"
    assert await among(alice, mixed=True) == {made["mixed"], made["listed"]}
    assert await among(alice, unknown=True) == set()
    assert await among(GUEST, staff=False) == {made["law"], made["mixed"], lure}
    assert await among(GUEST, staff=True) == {*made.values(), lure} - {made["listed"]}
