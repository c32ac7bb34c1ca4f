from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from serving.core.principal import Principal
from serving.store import memories as module
from serving.store.errors import Conflict, InvalidValue, NotFound
from serving.store.memories import MAX_TEXT, Memories
from serving.store.relational.database import Database


@pytest.fixture
def memories(database: Database) -> Memories:
    return Memories(database)


async def texts(memories: Memories, who: Principal, assistant: str = "a") -> list[str]:
    return [fact.text for fact in await memories.profile(who, assistant, limit=100)]


async def test_a_memory_is_stored_changed_and_deleted_by_its_owner_only(memories, alice, mallory) -> None:
    one = await memories.add(alice, "a", "  I live\n in Bern. ")
    assert (one.text, one.made_by, one.conversation_id) == ("I live in Bern.", "user", None)
    bob = replace(alice, user="bob")
    for other in (mallory, bob):
        assert (await memories.list_facts(other)).items == []
        assert await texts(memories, other) == []
        with pytest.raises(NotFound):
            await memories.update(other, one.id, "x")
        with pytest.raises(NotFound):
            await memories.delete(other, one.id)
    changed = await memories.update(alice, one.id, "I live in Basel.")
    assert (await memories.list_facts(alice)).items == [changed]
    two = await memories.add(alice, "b", "I live in Basel.")
    assert [f.id for f in (await memories.list_facts(alice)).items] == [two.id, one.id]
    assert [f.id for f in (await memories.list_facts(alice, assistant="b", limit=1)).items] == [two.id]
    page = await memories.list_facts(alice, limit=1)
    assert page.has_more
    assert (await memories.list_facts(alice, limit=1, after=two.id)).items == [changed]
    await memories.delete(alice, one.id)
    with pytest.raises(NotFound):
        await memories.delete(alice, one.id)


@pytest.mark.parametrize("text", ["", "  \n", "x" * (MAX_TEXT + 1), "a\0b", "\ud800"])
async def test_invalid_texts_are_rejected_and_change_nothing(memories, alice, text) -> None:
    made = await memories.add(alice, "a", "fine")
    with pytest.raises(InvalidValue, match="text"):
        await memories.add(alice, "a", text)
    with pytest.raises(InvalidValue, match="text"):
        await memories.update(alice, made.id, text)
    assert await texts(memories, alice) == ["fine"]


async def test_duplicate_facts_are_stored_once(memories, alice) -> None:
    assert await memories.add_found(alice, "a", ["Likes tea.", "likes  TEA", "Is tall."], "conv_1", most=10) == 2
    assert await memories.add_found(alice, "a", ["LIKES TEA!"], "conv_2", most=10) == 0
    mine = await memories.add(alice, "a", "Likes Tea")  # the user's from now on
    assert mine.made_by == "user"
    assert await texts(memories, alice) == ["Likes Tea", "Is tall."]
    with pytest.raises(Conflict):
        await memories.update(alice, mine.id, "is tall")
    assert (await memories.update(alice, mine.id, "LIKES TEA")).text == "LIKES TEA"


async def test_the_oldest_model_found_facts_are_evicted_first(memories, alice, monkeypatch) -> None:
    await memories.add(alice, "a", "mine")
    for n in range(6):
        await memories.add_found(alice, "a", [f"found {n}"], "conv_1", most=4)
    assert await texts(memories, alice) == ["mine", "found 5", "found 4", "found 3"]
    for n in range(4):
        await memories.add(alice, "a", f"mine {n}")
    assert await memories.add_found(alice, "a", ["found 6"], "conv_1", most=4) == 1
    assert await texts(memories, alice) == ["mine 3", "mine 2", "mine 1", "mine 0", "mine"]
    monkeypatch.setattr(module, "MAX_OWN", 5)
    with pytest.raises(InvalidValue, match="5 memories"):
        await memories.add(alice, "a", "one more")
    await memories.add(alice, "b", "another assistant's are counted apart")


async def test_concurrent_duplicates_are_stored_once(url: str, alice: Principal) -> None:
    async with Database(url) as one, Database(url) as two:
        stores = [Memories(one), Memories(two)]
        said = [f"fact {n}" for n in range(5)]
        added = await asyncio.gather(
            *(stores[n % 2].add_found(alice, "a", said, f"conv_{n}", most=3) for n in range(6)),
            *(stores[n % 2].add(alice, "a", "Mine") for n in range(4)),
        )
        assert sum(n for n in added if isinstance(n, int)) >= 5
        kept = await texts(stores[0], alice)
        assert kept[0] == "Mine"
        assert len(kept) == len(set(kept)) <= 4


async def test_all_of_a_user_are_forgotten(memories: Memories, alice: Principal, mallory: Principal) -> None:
    for who in (alice, replace(alice, user="bob"), mallory):
        for assistant in ("a", "b"):
            await memories.add(who, assistant, "Likes herons.")
    assert await memories.delete_all(alice, assistant="a") == 1
    assert await texts(memories, alice, "b") == ["Likes herons."]
    assert await memories.delete_all(alice) == 1
    assert await texts(memories, replace(alice, user="bob")) == ["Likes herons."]
    assert await texts(memories, mallory) == ["Likes herons."]
