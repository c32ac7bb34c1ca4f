"""Shares: who may read which items, until when, on both databases."""

from __future__ import annotations

import re
from typing import Any

import pytest

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.security.removal import Removal
from serving.store.conversations import Conversations, Item
from serving.store.errors import InvalidValue, NotFound
from serving.store.files import Files
from serving.store.jobs.queue import Jobs
from serving.store.relational.database import Database
from serving.store.relational.tables import users
from serving.store.sharing import shares as module
from serving.store.sharing.shares import SharedConversation, Shares
from serving.store.sharing.sources import DETAIL, Sources
from serving.store.tenants import Tenants
from serving.store.users import Users
from serving.store.vector_stores import VectorStores

DAY = 86_400.0
BOB = Principal(tenant="acme", user="bob", key_id="key_b")
NAMESAKE = Principal(tenant="evil", user="alice", key_id="key_n")


def says(role: str, text: str, **more: Any) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **more}


def answers(text: str, *files: str) -> dict[str, Any]:
    return says("assistant", text, details={"model": "m", DETAIL: {"files": list(files), "answerers": ["model:m"]}})


@pytest.fixture
async def shares(database: Database, alice: Principal) -> Shares:
    await Tenants(database).create("acme")
    for who in (alice, BOB):
        await Users(database).create(who, who.user)
    return Shares(database)


async def share(
    shares: Shares, who: Principal, id: str, until: str | None = None, expires_in_s: float = DAY
) -> SharedConversation:
    return await shares.create(who, id, await shares.sources(who, id, until), expires_in_s=expires_in_s)


async def shown(shares: Shares, who: Principal, id: str, **asked: Any) -> list[str]:
    _, found = await shares.items(who, id, **asked)
    return [item.body["content"][0]["text"] for item in found.items]


async def test_a_share_is_a_snapshot_for_its_tenant(
    shares: Shares, conversations: Conversations, alice: Principal, mallory: Principal
) -> None:
    talk = await conversations.create(alice, items=[says("user", "one"), answers("two", "file-1"), says("user", "3")])
    made = await share(shares, alice, talk.id)
    assert re.fullmatch(r"share_[0-9a-f]{32}", made.id), "128 random bits"
    assert (made.user, made.last_seq, made.title) == ("alice", 3, "one")
    sources, _ = await shares.items(BOB, made.id)
    expected = {"files": {"file-1": 2}, "attached": {}, "answerers": {"model:m": 2}, "unknown": None}
    assert sources.stored() == expected
    await conversations.add(alice, talk.id, [says("user", "later")])
    for reader in (alice, BOB):
        assert await shares.get(reader, made.id) == made
        assert await shown(shares, reader, made.id) == ["one", "two", "3"]
    _, first = await shares.items(BOB, made.id, limit=2)
    assert ([item.seq for item in first.items], first.has_more) == ([1, 2], True)
    assert (await shares.items(BOB, made.id))[1].items[1].details == {
        "model": "m",
        DETAIL: answers("", "file-1")["details"][DETAIL],
    }
    assert await shown(shares, BOB, made.id, after=first.items[-1].id) == ["3"]
    later = (await conversations.last(alice, talk.id, limit=1))[0]
    with pytest.raises(InvalidValue, match="after"):
        await shares.items(BOB, made.id, after=later.id)
    for stranger in (mallory, NAMESAKE):
        with pytest.raises(NotFound):
            await shares.get(stranger, made.id)
        with pytest.raises(NotFound):
            await shares.items(stranger, made.id)


async def test_only_the_owner_shares_lists_and_revokes(
    shares: Shares, conversations: Conversations, alice: Principal, mallory: Principal
) -> None:
    talk, other = [await conversations.create(alice, items=[says("user", text)]) for text in ("x", "y")]
    for stranger in (BOB, mallory, NAMESAKE):
        with pytest.raises(NotFound):
            await shares.sources(stranger, talk.id)
        with pytest.raises(NotFound):
            await shares.create(stranger, talk.id, await shares.sources(alice, talk.id), expires_in_s=DAY)
    one, two = await share(shares, alice, talk.id), await share(shares, alice, other.id)
    assert [each.id for each in (await shares.list(alice)).items] == [two.id, one.id]
    assert (await shares.list(alice, conversation=talk.id)).items == [one]
    assert (await shares.list(alice, after=two.id)).items == [one]
    for stranger in (BOB, mallory, NAMESAKE):
        assert (await shares.list(stranger)).items == []
        with pytest.raises(NotFound):
            await shares.delete(stranger, one.id)
    await shares.delete(alice, one.id)
    with pytest.raises(NotFound):
        await shares.get(BOB, one.id)
    with pytest.raises(NotFound):
        await shares.delete(alice, one.id)
    assert (await shares.list(alice)).items == [two]


async def test_a_share_ends_at_an_item(shares: Shares, conversations: Conversations, alice: Principal) -> None:
    talk = await conversations.create(alice, items=[says("user", "a"), answers("b"), says("user", "c")])
    other = await conversations.create(alice, items=[says("user", "z")])
    second, *_ = await conversations.following(alice, talk.id, after=1)
    made = await share(shares, alice, talk.id, until=second.id)
    assert await shown(shares, BOB, made.id) == ["a", "b"]
    [elsewhere] = await conversations.last(alice, other.id)
    for wrong in (elsewhere.id, "msg_none", "\0"):
        with pytest.raises(InvalidValue, match="until"):
            await shares.sources(alice, talk.id, wrong)
    with pytest.raises(InvalidValue, match="no messages"):
        await shares.sources(alice, (await conversations.create(alice)).id)


async def test_what_is_deleted_is_not_shared(
    shares: Shares, conversations: Conversations, database: Database, alice: Principal
) -> None:
    talk = await conversations.create(alice, items=[says("user", "a"), answers("b")])
    made = await share(shares, alice, talk.id)
    first = (await conversations.following(alice, talk.id))[0]
    await conversations.delete_item(alice, talk.id, first.id)
    assert await shown(shares, BOB, made.id) == ["b"]
    await conversations.delete(alice, talk.id)
    with pytest.raises(NotFound):
        await shares.items(BOB, made.id)
    assert (await shares.list(alice)).items == []
    with pytest.raises(NotFound):
        await shares.sources(alice, talk.id)


async def test_a_suspended_owner_shares_nothing(
    shares: Shares, conversations: Conversations, database: Database, alice: Principal
) -> None:
    talk = await conversations.create(alice, items=[says("user", "a")])
    made = await share(shares, alice, talk.id)
    await Users(database).update(alice, "alice", disabled=True)
    for call in (shares.get(BOB, made.id), shares.items(BOB, made.id)):
        with pytest.raises(NotFound):
            await call
    await Users(database).update(alice, "alice", disabled=False)
    assert await shown(shares, BOB, made.id) == ["a"]


async def test_a_removed_owner_shares_nothing_also_if_the_name_signs_in_again(
    shares: Shares, conversations: Conversations, database: Database, alice: Principal
) -> None:
    talk = await conversations.create(alice, items=[says("user", "a")])
    made = await share(shares, alice, talk.id)

    @uninterrupted
    async def remove() -> None:
        async with database.write() as connection:
            await connection.execute(users.delete().where(users.c.user == "alice"))

    await remove()
    for again in (False, True):
        if again:
            await Users(database).create(alice, "alice")
        for call in (shares.get(BOB, made.id), shares.items(BOB, made.id)):
            with pytest.raises(NotFound):
                await call
    new = await share(shares, alice, talk.id)
    assert await shown(shares, BOB, new.id) == ["a"]


async def test_an_erasure_removes_shares_with_the_user(
    shares: Shares,
    conversations: Conversations,
    database: Database,
    jobs: Jobs,
    files: Files,
    vector_stores: VectorStores,
    alice: Principal,
) -> None:
    talk = await conversations.create(alice, items=[says("user", "a")])
    bobs = await conversations.create(BOB, items=[says("user", "b")])
    await share(shares, alice, talk.id)
    kept = await share(shares, BOB, bobs.id)
    removal = Removal(database, jobs, files, vector_stores, settle_s=0)
    await removal._remove_user(await jobs.enqueue(BOB, "erasure", {}), "alice")
    assert (await shares.list(alice)).items == []
    assert await shares.get(alice, kept.id) == kept


async def test_an_expired_share_is_gone_and_pruned(
    shares: Shares, conversations: Conversations, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = await conversations.create(alice, items=[says("user", "a")])
    brief, long = await share(shares, alice, talk.id, expires_in_s=60), await share(shares, alice, talk.id)
    at = brief.created_at
    monkeypatch.setattr(module, "now", lambda: at + 61)
    for call in (shares.get(BOB, brief.id), shares.items(BOB, brief.id), shares.get(alice, brief.id)):
        with pytest.raises(NotFound):
            await call
    assert (await shares.list(alice)).items == [long]
    assert await shares.prune() == 1
    assert await shares.prune() == 0
    assert await shares.get(BOB, long.id) == long


async def test_a_person_has_a_limited_number_of_shares(
    shares: Shares, conversations: Conversations, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OPEN", 2)
    talk = await conversations.create(alice, items=[says("user", "a")])
    first, _ = await share(shares, alice, talk.id), await share(shares, alice, talk.id)
    with pytest.raises(InvalidValue, match="2 shares"):
        await share(shares, alice, talk.id)
    bobs = await conversations.create(BOB, items=[says("user", "b")])
    await share(shares, BOB, bobs.id)
    await shares.delete(alice, first.id)
    await share(shares, alice, talk.id)


async def test_a_long_conversation_is_read_a_few_items_at_a_time(
    shares: Shares, conversations: Conversations, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_TOGETHER", 2)
    sizes: list[int] = []
    read = Shares._following

    async def following(self: Shares, *asked: Any) -> tuple[list[Any], int]:
        found, characters = await read(self, *asked)
        sizes.append(len(found))
        return found, characters

    monkeypatch.setattr(Shares, "_following", following)
    talk = await conversations.create(
        alice, items=[says("user", "a"), *[answers(str(n), f"file-{n}") for n in range(4)]]
    )
    assert (await shares.sources(alice, talk.id)).files == {f"file-{n}": n + 2 for n in range(4)}
    assert sizes == [2, 2, 1, 0]
    for limit in ("MAX_ITEMS", "MAX_CHARACTERS"):
        with monkeypatch.context() as less, pytest.raises(InvalidValue, match="too much before it"):
            less.setattr(module, limit, 4)
            await shares.sources(alice, talk.id)
    with pytest.raises(InvalidValue, match="limit"):
        await shares.items(BOB, (await share_of_one(shares, conversations, alice)).id, limit=module.MAX_SHARED + 1)


async def test_nothing_is_read_beyond_the_first_unknown_source_or_for_a_share_too_many(
    shares: Shares, conversations: Conversations, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_TOGETHER", 2)
    numbers: list[int] = []
    added = Sources.add

    def add(self: Sources, item: Item) -> None:
        numbers.append(item.seq)
        added(self, item)

    monkeypatch.setattr(Sources, "add", add)
    said = [says("user", "a"), says("assistant", "of an earlier version"), *[says("user", "b")] * 4]
    talk = await conversations.create(alice, items=said)
    monkeypatch.setattr(module, "MAX_CHARACTERS", 1)
    made = await share(shares, alice, talk.id)
    assert numbers == [1, 2]
    assert (made.last_seq, await shown(shares, BOB, made.id, limit=50)) == (6, ["a", "of an earlier version", *"bbbb"])
    assert (await shares.items(BOB, made.id))[0].unknown == 2
    monkeypatch.setattr(module, "MAX_OPEN", 1)
    with pytest.raises(InvalidValue, match="1 shares"):
        await shares.sources(alice, talk.id)
    assert numbers == [1, 2]


async def test_a_page_of_large_items_ends_early(
    shares: Shares, conversations: Conversations, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHARACTERS_TOGETHER", 2500)
    texts = [letter * 1000 for letter in "abc"] + ["d" * 9000, "e"]
    talk = await conversations.create(alice, items=[says("user", text) for text in texts])
    made = await share(shares, alice, talk.id)
    for order, lengths in (("asc", [[1000, 1000], [1000], [9000], [1]]), ("desc", [[1], [9000], [1000, 1000], [1000]])):
        found: list[list[int]] = []
        after, more = None, True
        while more:
            _, part = await shares.items(BOB, made.id, after=after, order=order)  # type: ignore[arg-type]
            found.append([len(item.body["content"][0]["text"]) for item in part.items])
            after, more = part.items[-1].id, part.has_more
        assert found == lengths


async def share_of_one(shares: Shares, conversations: Conversations, who: Principal) -> SharedConversation:
    return await share(shares, who, (await conversations.create(who, items=[says("user", "a")])).id)


async def test_an_item_of_any_characters_is_shared(
    shares: Shares, conversations: Conversations, alice: Principal
) -> None:
    strange = answers("b\0c", "file-1")
    strange["details"]["citations"] = [{"quote": "\0"}]
    talk = await conversations.create(alice, items=[says("user", "a\0"), strange])
    made = await share(shares, alice, talk.id)
    assert (await shares.items(BOB, made.id))[0].files == {"file-1": 2}
    assert await shown(shares, BOB, made.id) == ["a\0", "b\0c"]
    for impossible in ("\0", "share_\ud800", "x" * 999):
        with pytest.raises(NotFound):
            await shares.get(BOB, impossible)
        assert (await shares.list(alice, conversation=impossible)).items == []


async def test_a_share_never_shows_what_its_owner_may_not_read(
    shares: Shares, conversations: Conversations, alice: Principal
) -> None:
    """Nothing changes the owner of a conversation; a row that says so shows nothing all the same."""
    bobs = await conversations.create(BOB, items=[says("user", "bob's")])
    with pytest.raises(NotFound):
        await shares.create(alice, bobs.id, await shares.sources(BOB, bobs.id), expires_in_s=DAY)
