from __future__ import annotations

import pytest

from serving.core.ids import now
from serving.core.principal import Principal
from serving.store.apps import checkpoints as module
from serving.store.apps.checkpoints import KEPT, Checkpoint, Checkpoints, Thread
from serving.store.conversations import Conversations
from serving.store.errors import InvalidValue, NotFound
from serving.store.relational.database import Database
from tests.contract.store.test_conversations import says

LOOSE = Thread("agent", "chatcmpl-1")


@pytest.fixture
def kept(database: Database) -> Checkpoints:
    return Checkpoints(database)


def at(id: str, parent: str | None = None, state: str = "AAAA") -> Checkpoint:
    return Checkpoint(id, parent, ("msgpack", state), ("json", "BBBB"))


async def test_the_newest_checkpoint_is_found_with_its_later_writes(kept, alice) -> None:
    assert await kept.get(alice, LOOSE, "", None) is None
    await kept.put(alice, LOOSE, "", at("1"))
    await kept.put(alice, LOOSE, "", at("2", "1"))
    await kept.put(alice, LOOSE, "inner", at("9"))
    await kept.put_writes(
        alice, LOOSE, "", "2", "t", [(0, "a", ("json", "CCCC")), (-3, "__interrupt__", ("json", "DDDD"))]
    )
    await kept.put_writes(
        alice, LOOSE, "", "2", "t", [(0, "a", ("json", "EEEE")), (-3, "__interrupt__", ("json", "FFFF"))]
    )
    found = await kept.get(alice, LOOSE, "", None)
    assert (found.id, found.parent, found.state, found.metadata) == ("2", "1", ("msgpack", "AAAA"), ("json", "BBBB"))
    assert found.writes == [("t", "__interrupt__", ("json", "FFFF")), ("t", "a", ("json", "CCCC"))]
    assert (await kept.get(alice, LOOSE, "", "1")).writes == []
    assert [each.id for each in await kept.newest_first(alice, LOOSE, "", "2")] == ["1"]
    await kept.delete(alice, LOOSE)
    assert await kept.get(alice, LOOSE, "inner", None) is None


async def test_a_thread_is_one_users(kept, alice, mallory) -> None:
    await kept.put(alice, LOOSE, "", at("1"))
    for who in (mallory, Principal(alice.tenant, "bob", ""), Principal(mallory.tenant, alice.user, "")):
        assert await kept.get(who, LOOSE, "", None) is None
        await kept.put(who, LOOSE, "", at("1", state="ZZZZ"))
        await kept.delete(who, LOOSE)
    assert await kept.get(alice, Thread("other", LOOSE.name), "", None) is None
    assert (await kept.get(alice, LOOSE, "", None)).state == ("msgpack", "AAAA")


async def test_the_number_and_size_of_checkpoints_are_bounded(kept, alice, monkeypatch) -> None:
    for number in range(KEPT + 3):
        await kept.put(alice, LOOSE, "", at(f"{number:02}"))
        await kept.put_writes(alice, LOOSE, "", f"{number:02}", "t", [(0, "a", ("json", "CCCC"))])
    assert [each.id for each in await kept.newest_first(alice, LOOSE, "", None)][-1] == "03"
    assert await kept.get(alice, LOOSE, "", "02") is None
    monkeypatch.setattr(module, "MAX_BYTES", 3)
    with pytest.raises(InvalidValue):
        await kept.put(alice, LOOSE, "", at("99"))


async def test_checkpoints_of_subgraphs_are_deleted_with_those_of_the_graph(kept, alice, monkeypatch) -> None:
    calls = [f"inner:{number:02}" for number in range(KEPT + 3)]
    await kept.put(alice, LOOSE, "remembers", at("00"))
    for number, namespace in enumerate(calls):
        await kept.put(alice, LOOSE, "", at(f"{number:02}0"))
        await kept.put(alice, LOOSE, namespace, at(f"{number:02}1"))
        await kept.put_writes(alice, LOOSE, namespace, f"{number:02}1", "t", [(0, "a", ("json", "CCCC"))])
    there = [namespace for namespace in calls if await kept.get(alice, LOOSE, namespace, None) is not None]
    assert there == calls[-KEPT:]
    assert await kept.get(alice, LOOSE, "remembers", None) is not None
    monkeypatch.setattr(module, "MAX_THREAD_BYTES", KEPT * 2 * 6 + 6 + KEPT * 3 + 3)
    await kept.put_writes(alice, LOOSE, "", f"{KEPT + 2:02}0", "t", [(0, "a", ("json", "CCCC"))])
    for more in (
        kept.put_writes(alice, LOOSE, "", f"{KEPT + 2:02}0", "t", [(1, "a", ("json", "CCCC"))]),
        kept.put(alice, LOOSE, "more", at("00")),
    ):
        with pytest.raises(InvalidValue, match="thread: has checkpoints of more than"):
            await more
    assert await kept.get(alice, LOOSE, "more", None) is None


async def test_late_writes_to_a_deleted_thread_are_refused(kept, alice) -> None:
    await kept.put(alice, LOOSE, "", at("1"))
    await kept.put(alice, LOOSE, "inner", at("2"))
    await kept.delete(alice, LOOSE)
    for late in (
        kept.put(alice, LOOSE, "", at("3", "1")),
        kept.put(alice, LOOSE, "inner", at("3", "2")),
        kept.put_writes(alice, LOOSE, "", "1", "t", [(0, "a", ("json", "CCCC"))]),
    ):
        with pytest.raises(NotFound):
            await late
    assert await kept.newest_first(alice, LOOSE, "", None) == []


async def test_deleting_a_conversation_deletes_its_thread(kept, database, alice, mallory) -> None:
    conversations = Conversations(database)
    made = await conversations.create(alice, items=[says("user", "a"), says("user", "b")])
    thread = Thread("agent", made.id, made.id)
    await kept.put(alice, thread, "", at("1"))
    with pytest.raises(NotFound):
        await kept.put(mallory, thread, "", at("1"))
    [item, _] = await conversations.following(alice, made.id, limit=100)
    await conversations.delete_item(alice, made.id, item.id)
    assert await kept.get(alice, thread, "", None) is None, "it quotes what was deleted"
    await kept.put(alice, thread, "", at("1"))
    await kept.put_writes(alice, thread, "", "1", "t", [(0, "a", ("json", "CCCC"))])
    await conversations.delete(alice, made.id)
    assert await kept.get(alice, thread, "", None) is None
    with pytest.raises(NotFound):
        await kept.put_writes(alice, thread, "", "1", "t", [(0, "a", ("json", "CCCC"))])


async def test_abandoned_threads_are_pruned(kept, database, alice, monkeypatch) -> None:
    made = await Conversations(database).create(alice)
    await kept.put(alice, Thread("agent", made.id, made.id), "", at("1"))
    await kept.put(alice, LOOSE, "", at("1"))
    assert await kept.prune() == 0
    monkeypatch.setattr(module, "now", lambda: now() + module.LOST_S + 1)
    assert await kept.prune() == 1
