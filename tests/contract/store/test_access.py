"""Access lists: who reads, finds, changes and deletes what is shared."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.core.ids import new_id
from serving.core.principal import SCOPES_OF, STACK, Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.access import MAX_NAMES, Access, access_document, listed, names_of
from serving.store.errors import InvalidValue, NotFound, NotOwner
from serving.store.files import Files
from serving.store.jobs.queue import Jobs
from serving.store.relational.database import Database
from serving.store.relational.tables import files as file_rows
from serving.store.relational.tables import vector_stores as store_rows
from serving.store.users import ADMIN
from serving.store.vector_stores import INGEST, UNINDEX, VectorStores

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=9)


@given(st.frozensets(NAMES, max_size=5), st.frozensets(NAMES, max_size=5), NAMES)
def test_access_lists_are_returned_with_their_owner(users: frozenset[str], groups: frozenset[str], owner: str) -> None:
    names = listed(Access(list(users), list(groups)), owner)
    assert access_document(names) == {"users": sorted(users | {owner}), "groups": sorted(groups)}
    assert listed(None, owner) is None
    assert access_document(None) is None


@pytest.mark.parametrize("bad", [[""], ["x" * 257], ["a\0"], ["\ud800"], ["a"] * (MAX_NAMES + 1)])
def test_a_list_is_bounded(bad: list[str]) -> None:
    for access in (Access(users=bad), Access(groups=bad)):
        with pytest.raises(InvalidValue):
            listed(access, "alice")


def test_a_user_is_no_group_of_the_same_name(alice: Principal) -> None:
    assert names_of(replace(alice, groups=frozenset(("b", "a")))) == ["user:alice", "group:a", "group:b"]


@pytest.fixture
def upload(files: Files) -> Callable[..., Awaitable[str]]:
    async def upload(principal: Principal, access: Access | None = None) -> str:
        id, sha = new_id("file"), "0" * 64
        await files.create(
            principal, id, filename="a", purpose="assistants", bytes=3, sha256=sha, kind="text/plain", access=access
        )
        return id

    return upload


LEGAL = Access(users=["bob"], groups=["legal"])


@pytest.fixture
def people(alice: Principal, mallory: Principal) -> dict[str, Principal]:
    """Alice owns what there is; bob and carol are on the list by name and by group, and the others are not."""
    return {
        "alice": alice,
        "bob": replace(alice, user="bob"),
        "carol": replace(alice, user="carol", groups=frozenset(("legal", "x"))),
        "dave": replace(alice, user="dave", groups=frozenset(("bob", "user:bob"))),
        "legal": replace(alice, user="legal"),
        "admin": replace(alice, user="root", role="admin", scopes=SCOPES_OF["admin"]),
        "mallory": replace(mallory, user="bob", groups=frozenset(("legal",)), role="admin", scopes=SCOPES_OF["admin"]),
    }


async def allowed(ask: Callable[[Principal], Awaitable[object]], people: dict[str, Principal]) -> set[str]:
    """Returns who is answered."""
    found = set()
    for name, who in people.items():
        try:
            if await ask(who):
                found.add(name)
        except NotFound:
            continue
    return found


async def test_listed_users_can_read(
    files: Files, vector_stores: VectorStores, people: dict[str, Principal], upload: Callable[..., Awaitable[str]]
) -> None:
    alice, listed = people["alice"], {"alice", "bob", "carol"}
    file, store = await upload(alice, LEGAL), await vector_stores.create(alice, access=LEGAL)
    await vector_stores.attach(alice, store.id, file)
    open_store = await vector_stores.create(alice)
    await vector_stores.attach(alice, open_store.id, file)

    async def found(who: Principal) -> object:
        return [s for s in (await vector_stores.list(who)).items if s.id == store.id]

    async def inside(who: Principal) -> object:
        return (await vector_stores.list_files(who, open_store.id)).items

    async def finds(who: Principal) -> object:
        return await vector_stores.withheld(who, store.id) is not None

    for ask in (
        lambda who: files.get(who, file),
        lambda who: vector_stores.get(who, store.id),
        lambda who: vector_stores.get_file(who, store.id, file),
        lambda who: vector_stores.get_file(who, open_store.id, file),
        lambda who: vector_stores.list_files(who, store.id),
        found,
        inside,
        finds,
    ):
        assert await allowed(ask, people) == listed
    assert [f.id for f in (await files.list(people["bob"])).items] == [file]
    assert (await files.list(people["dave"])).items == []
    with pytest.raises(InvalidValue):  # as of no file at all
        await files.list(people["dave"], after=file)
    assert await vector_stores.withheld(people["dave"], open_store.id) == [file]  # the index does not know it yet


async def test_only_the_owner_and_admins_change(
    files: Files, vector_stores: VectorStores, people: dict[str, Principal], upload: Callable[..., Awaitable[str]]
) -> None:
    alice = people["alice"]
    file, store = await upload(alice), await vector_stores.create(alice)
    hidden, hidden_store = await upload(alice, LEGAL), await vector_stores.create(alice, access=LEGAL)
    await vector_stores.attach(alice, store.id, file)
    for name in ("bob", "dave", "mallory"):
        who = people[name]
        theirs = await vector_stores.create(who)
        refused = NotFound if name == "mallory" else NotOwner
        unseen = NotOwner if name == "bob" else NotFound
        for error, ask in (
            (refused, vector_stores.update(who, store.id, name="mine")),
            (refused, vector_stores.update(who, store.id, access=None)),
            (refused, vector_stores.attach(who, store.id, file)),
            (refused, vector_stores.attach(who, theirs.id, file, access=Access(users=[who.user]))),
            (refused, vector_stores.detach(who, store.id, file)),
            (refused, vector_stores.delete(who, store.id)),
            (refused, files.delete(who, file)),
            (unseen, vector_stores.update(who, hidden_store.id, access=None)),
            (unseen, vector_stores.delete(who, hidden_store.id)),
            (unseen, files.delete(who, hidden)),
        ):
            with pytest.raises(error):
                await ask
    for wider in (None, Access(users=["root"]), Access(["bob"], ["legal", "x"])):  # the admin lets nobody in
        with pytest.raises(NotOwner, match="Only the owner"):
            await vector_stores.update(people["admin"], hidden_store.id, access=wider)
    changed = await vector_stores.update(people["admin"], hidden_store.id, access=Access(groups=["legal"]))
    assert access_document(changed.access) == {"users": ["alice"], "groups": ["legal"]}  # the owner stays on it
    with pytest.raises(NotFound):
        await vector_stores.get(people["admin"], hidden_store.id)  # whose list does not name the admin
    assert (await vector_stores.update(alice, hidden_store.id, name="n")).access == changed.access
    assert (await vector_stores.update(alice, hidden_store.id, access=None)).access is None
    assert (await vector_stores.get(people["dave"], hidden_store.id)).name == "n"
    operator = replace(people["admin"], scopes=frozenset({*people["admin"].scopes, "platform"}))
    shut = await vector_stores.create(alice, access=Access())
    assert (await vector_stores.update(operator, shut.id, access=None)).access is None
    mine = await upload(alice, Access(users=["root"]))
    of_admin = await vector_stores.create(people["admin"])
    with pytest.raises(NotOwner, match="Only the owner"):
        await vector_stores.attach(people["admin"], of_admin.id, mine, access=None)
    await files.delete(people["admin"], hidden)
    await vector_stores.delete(alice, store.id)


async def test_a_files_access_list_follows_it_and_can_be_replaced(
    vector_stores: VectorStores, jobs: Jobs, people: dict[str, Principal], upload: Callable[..., Awaitable[str]]
) -> None:
    alice, bob, dave = people["alice"], people["bob"], people["dave"]
    file, theirs = await upload(alice, LEGAL), await vector_stores.create(bob)
    first = await vector_stores.attach(bob, theirs.id, file)
    assert access_document(first.access) == {"users": ["alice", "bob"], "groups": ["legal"]}
    assert await vector_stores.attach(bob, theirs.id, file) == first
    job = await jobs.claim([INGEST], "w", 10)
    assert job is not None
    await jobs.complete(job)
    assert await vector_stores.withheld(dave, theirs.id) == []  # from here on the index holds the list

    store = await vector_stores.create(alice)
    for access in (None, Access(groups=["y"])):
        given = await vector_stores.attach(alice, store.id, file, access=access)
        assert given.access == listed(access, "alice")
        assert given.status == "in_progress"
    assert await vector_stores.withheld(dave, store.id) == [file]
    assert await vector_stores.withheld(alice, store.id) == []
    assert (await vector_stores.attach(alice, store.id, file)).access == given.access


@uninterrupted
async def test_store_names_resolve_to_the_owners_store(database: Database, vector_stores: VectorStores) -> None:
    ours, mallory = (
        Principal(STACK, ADMIN, "k", scopes=SCOPES_OF["admin"], role="admin"),
        Principal(STACK, "mallory", "k", scopes=SCOPES_OF["admin"], role="admin"),
    )
    old, hers = await vector_stores.create(mallory, name="docs"), await vector_stores.create(mallory, name="docs")
    assert await vector_stores.named(STACK, ADMIN, "docs") is None
    async with database.write() as connection:
        await connection.execute(store_rows.update().where(store_rows.c.id == old.id).values(user=None))
    assert await vector_stores.named(STACK, ADMIN, "docs") == old.id
    assert (await vector_stores.update(mallory, old.id, metadata={"a": "b"})).user is None
    assert (await vector_stores.update(ours, old.id, metadata={})).user == ADMIN
    assert (await vector_stores.update(ours, hers.id, metadata={})).user == "mallory"
    async with database.write() as connection:
        await connection.execute(store_rows.update().where(store_rows.c.id == old.id).values(user=None))
    new = await vector_stores.create(ours, name="docs")
    assert await vector_stores.named(STACK, ADMIN, "docs") == new.id
    assert await vector_stores.named("acme", ADMIN, "docs") is None


async def test_deleted_files_are_hidden_until_unindexed(
    files: Files, vector_stores: VectorStores, jobs: Jobs, people: dict[str, Principal], upload
) -> None:
    alice, dave = people["alice"], people["dave"]
    detached, deleted = await upload(alice), await upload(alice)
    store, other = await vector_stores.create(alice), await vector_stores.create(alice)
    for file in (detached, deleted):
        for each in (store, other):
            await vector_stores.attach(alice, each.id, file)
    while job := await jobs.claim([INGEST], "w", 10):
        await jobs.complete(job)
    await vector_stores.attach(alice, store.id, detached, access=Access())
    await vector_stores.detach(alice, store.id, detached)
    await files.delete(alice, deleted)
    for who in (alice, dave):
        assert set(await vector_stores.withheld(who, store.id) or ()) == {detached, deleted}
        assert await vector_stores.withheld(who, other.id) == [deleted]
    while job := await jobs.claim([INGEST, UNINDEX], "w", 10):
        await jobs.complete(job)
    for each in (store, other):
        assert await vector_stores.withheld(dave, each.id) == []


@uninterrupted
async def test_stores_without_owner_or_list_are_open_to_the_tenant(
    database: Database, files: Files, vector_stores: VectorStores, people: dict[str, Principal], upload
) -> None:
    alice, dave = people["alice"], people["dave"]
    file, store = await upload(alice), await vector_stores.create(alice)
    async with database.write() as connection:
        for table in (file_rows, store_rows):
            await connection.execute(table.update().values(user=None))
    assert (await files.get(dave, file)).user is None
    await vector_stores.attach(dave, store.id, file, access=Access())
    await asyncio.gather(vector_stores.update(dave, store.id, access=Access()), vector_stores.get(dave, store.id))
    with pytest.raises(NotFound):
        await vector_stores.get(alice, store.id)
    await files.delete(dave, file)
    with pytest.raises(NotFound):
        await files.delete(people["mallory"], file)
