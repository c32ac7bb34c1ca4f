"""Documents with access lists, from upload to search: one replica with the embedder that Headrace ships."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.config import Assistant, Catalog, KnowledgeAccess, RestrictedCollection
from serving.core.ids import new_id
from serving.core.principal import SCOPES_OF, STACK, Principal
from serving.protocol.filters import ComparisonFilter
from serving.protocol.knowledge import Knowledge, KnowledgeRanking
from serving.retrieval.client import RetrievalClient
from serving.retrieval.types import Hit
from serving.store.access import Access
from tests.wait import eventually

if TYPE_CHECKING:
    from serving.retrieval.replica import RetrievalReplica

ADMIN = Principal(STACK, "admin", "key_0", scopes=SCOPES_OF["admin"], role="admin")
ANNA = Principal(STACK, "anna", "key_1")
BOB = Principal(STACK, "bob", "key_2", groups=frozenset(("legal",)))
NAMESAKE = Principal("acme", "anna", "key_3", groups=frozenset(("legal",)))
QUESTION = "What does the heron eat?"


class World:
    def __init__(self, replica: RetrievalReplica) -> None:
        self.replica = replica
        self.stores, self.files = replica._stores, replica._files

    async def upload(self, text: str, access: Access | None = None) -> str:
        id = new_id("file")
        blob = await self.replica._blobs.write(ADMIN, id, io.BytesIO(text.encode()), max_bytes=1000)
        form = {"filename": f"{text}.txt", "purpose": "assistants", "kind": "text/plain"}
        await self.files.create(ADMIN, id, bytes=blob.bytes, sha256=blob.sha256, access=access, **form)
        return id

    async def ingested(self) -> None:
        loop = asyncio.get_running_loop()

        def done() -> bool:
            return not asyncio.run_coroutine_threadsafe(self.replica._jobs.unfinished(), loop).result()

        await asyncio.to_thread(eventually, done, "all is ingested")

    async def found(self, who: Principal, store: str) -> set[str]:
        return {hit.file_id for hit in await self.replica.search(who, store, QUESTION, 10)}


async def test_changed_access_lists_apply_to_the_next_search(replica: RetrievalReplica) -> None:
    world = World(replica)
    store = (await world.stores.create(ADMIN, name="birds")).id
    everybodys = await world.upload("The heron eats fish.")
    legals = await world.upload("The heron eats frogs.", Access(groups=["legal"]))
    for file in (everybodys, legals):
        await world.stores.attach(ADMIN, store, file)
    await world.ingested()
    assert await world.found(ADMIN, store) == await world.found(BOB, store) == {everybodys, legals}
    assert await world.found(ANNA, store) == {everybodys}
    assert await world.found(NAMESAKE, store) == set()

    # A narrower list applies at once, a wider one once the index is updated.
    replica._working.cancel()  # type: ignore[union-attr]  # nothing is ingested now
    await asyncio.gather(replica._working, return_exceptions=True)  # type: ignore[arg-type]
    await world.stores.attach(ADMIN, store, everybodys, access=Access(users=["anna"]))
    assert await world.found(BOB, store) == {legals}
    assert await world.found(ANNA, store) == {everybodys}
    await world.stores.update(ADMIN, store, access=Access(groups=["legal"]))
    assert await world.found(ANNA, store) == set()
    replica._working = asyncio.create_task(replica._work())
    await world.stores.attach(ADMIN, store, legals, access=None)
    await world.stores.update(ADMIN, store, access=None)
    await world.ingested()
    assert await world.found(ANNA, store) == {everybodys, legals}
    assert await world.found(BOB, store) == {legals}


async def test_configured_collections_are_shared_except_restricted_documents(
    replica: RetrievalReplica,
) -> None:
    world = World(replica)
    store = (await world.stores.create(ADMIN, name="birds")).id
    everybodys = await world.upload("The heron eats fish.")
    annas = await world.upload("The heron eats frogs.", Access(users=["anna"], groups=["legal"]))
    for file in (everybodys, annas):
        await world.stores.attach(ADMIN, store, file)
    await world.stores.create(NAMESAKE, name="birds")  # of the same name, and another's
    await world.ingested()
    assistant = Assistant(name="a", model="m", knowledge=("birds",), context_tokens=500)
    for who, files in ((ANNA, {everybodys, annas}), (BOB, {everybodys, annas}), (NAMESAKE, {everybodys})):
        assert {hit.file_id for hit in await replica.context(who, assistant, QUESTION)} == files


async def test_callers_with_access_to_a_restricted_collection_search_its_documents(
    replica: RetrievalReplica,
) -> None:
    world = World(replica)
    await world.stores.create(ANNA, name="birds")  # older, of the same name, and a user's
    store = (await world.stores.create(ADMIN, name="birds", access=Access())).id
    file = await world.upload("The heron eats fish.", Access())
    await world.stores.attach(ADMIN, store, file)
    await world.ingested()
    assistant = Assistant(name="a", model="m", knowledge=("birds",), context_tokens=500)
    for who in (ANNA, BOB, NAMESAKE):
        assert [hit.file_id for hit in await replica.context(who, assistant, QUESTION, ("birds",))] == [file]
        assert await replica.context(who, assistant, QUESTION) == []
        assert await world.found(who, store) == set()


async def test_vector_stores_of_a_request_are_searched_with_the_rights_of_its_caller(replica: RetrievalReplica) -> None:
    world = World(replica)
    open_, listed, empty = [(await world.stores.create(ADMIN, name=name)).id for name in ("open", "listed", "empty")]
    everybodys = await world.upload("The heron eats fish.")
    legals = await world.upload("The heron eats frogs.", Access(groups=["legal"]))
    for store in (open_, listed):
        await world.stores.attach(ADMIN, store, everybodys)
    await world.stores.attach(ADMIN, open_, legals)
    await world.ingested()
    await world.stores.update(ADMIN, listed, access=Access(groups=["legal"]))
    reader = Assistant(name="a", model="m", context_tokens=500)

    async def read(who: Principal, *stores: str, least: float = 0, before: str = "") -> list[str]:
        asked = Knowledge(vector_store_ids=list(stores), ranking_options=KnowledgeRanking(score_threshold=least))
        return sorted(hit.file_id for hit in await replica.context(who, reader, QUESTION, (), before, (), asked))

    assert await read(ANNA, open_, listed, empty) == [everybodys]
    assert await read(BOB, open_, listed) == sorted([everybodys, legals])
    assert await read(NAMESAKE, open_, listed) == []
    assert await read(BOB, open_, least=1) == []
    assert await read(ANNA, open_, before="What do birds eat?") == [everybodys]
    found = await replica.context(ANNA, reader, QUESTION, (), "", (open_,))
    assert [hit.file_id for hit in found] == [everybodys]


async def test_a_filter_applies_to_the_vector_stores_of_its_request(replica: RetrievalReplica) -> None:
    world = World(replica)
    named, own = [(await world.stores.create(ADMIN, name=name)).id for name in ("named", "own")]
    fish, frogs, mice = [await world.upload(f"The heron eats {food}.") for food in ("fish", "frogs", "mice")]
    await world.stores.attach(ADMIN, named, fish, attributes={"team": "law"})
    await world.stores.attach(ADMIN, named, frogs, attributes={"team": "sales"})
    await world.stores.attach(ADMIN, own, mice)
    await world.ingested()
    only = ComparisonFilter(type="eq", key="team", value="law")
    asked = Knowledge(vector_store_ids=[named], filters=only)
    reader = Assistant(name="a", model="m", context_tokens=500)
    found = await replica.context(ADMIN, reader, QUESTION, (), "", (own,), asked)
    assert sorted(hit.file_id for hit in found) == sorted([fish, mice])


class Told:
    """A retrieval deployment that records the collections it searches."""

    def __init__(self) -> None:
        self.call = self
        self.restricted: set[str] = set()

    async def remote(
        self,
        method: str,
        who: Principal,
        assistant: Assistant,
        question: str,
        granted: tuple[str, ...],
        before: str = "",
    ) -> Any:
        assert set(granted) == {"law"} & set(assistant.knowledge) & self.restricted
        return list(assistant.knowledge)


async def test_a_collection_is_searched_only_for_callers_with_access() -> None:
    deployment = Told()
    client = RetrievalClient(deployment)
    assistant = Assistant(name="a", model="m", knowledge=("open", "law"))

    async def told(who: Principal, assistant: Assistant = assistant) -> list[Hit]:
        return await client.context(who, assistant, QUESTION)

    assert await told(NAMESAKE) == ["open", "law"]
    access = KnowledgeAccess(tenants=(STACK,), groups=("legal",), users=("admin",))
    client.configure(Catalog(collections=(RestrictedCollection(name="law", access=access),)))
    deployment.restricted = {"law"}
    for who, names in ((ADMIN, ["open", "law"]), (BOB, ["open", "law"]), (ANNA, ["open"]), (NAMESAKE, ["open"])):
        assert await told(who) == names
    assert await told(ANNA, assistant.model_copy(update={"knowledge": ("law",)})) == []
    client.configure(Catalog())
    deployment.restricted = set()
    assert await told(ANNA) == ["open", "law"]


FEW = st.lists(st.sampled_from("abc"), max_size=2, unique=True).map(tuple)


@given(FEW, FEW, FEW, st.sampled_from("abc"), st.sampled_from("abc"), st.frozensets(st.sampled_from("abc")))
def test_tenants_restrict_while_users_and_groups_are_alternatives(
    tenants: tuple[str, ...],
    users: tuple[str, ...],
    groups: tuple[str, ...],
    tenant: str,
    user: str,
    of: frozenset[str],
) -> None:
    if not tenants and (users or groups):
        with pytest.raises(ValueError, match="needs tenants"):
            KnowledgeAccess(tenants=tenants, users=users, groups=groups)
        return
    inside = not tenants or tenant in tenants
    named = (not users and not groups) or user in users or any(group in groups for group in of)
    access = KnowledgeAccess(tenants=tenants, users=users, groups=groups)
    assert access.allows(tenant, user, of) == (inside and named)
