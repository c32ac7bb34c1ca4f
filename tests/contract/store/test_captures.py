from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import Connection, func, select

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.captures import Captures
from serving.store.conversations import Conversations, Item
from serving.store.errors import InvalidValue, NotFound
from serving.store.jobs.queue import Jobs, add_job
from serving.store.relational.database import Database
from serving.store.relational.tables import captures as captures_table
from tests.store.captures import TURN, capture


@uninterrupted
async def rows(database: Database) -> int:
    async with database.read() as connection:
        return (await connection.execute(select(func.count()).select_from(captures_table))).scalar_one()


async def test_a_capture_is_stored_changed_and_deleted_by_its_owner_only(
    captures: Captures, alice: Principal, mallory: Principal, database: Database
) -> None:
    made = capture(alice, "\0 \ufffe \U0001f511", chunks=[{"text": "sea"}], metadata={"a": "1"}, cost=0.25)
    await captures.record(alice, made)
    assert await captures.get(alice, made.id) == made
    changed = await captures.update(alice, made.id, metadata={"b": "2"})
    assert changed == replace(made, metadata={"b": "2"})
    for call in (
        captures.get(mallory, made.id),
        captures.update(mallory, made.id, metadata={}),
        captures.delete(mallory, made.id),
        captures.get(alice, "chatcmpl_none"),
    ):
        with pytest.raises(NotFound):
            await call
    assert (await captures.list(mallory)).items == []
    assert (await captures.list(alice)).items == [changed]
    await captures.delete(alice, made.id)
    with pytest.raises(NotFound):
        await captures.delete(alice, made.id)
    assert await rows(database) == 0


async def test_unlisted_captures_are_not_shown(captures: Captures, alice: Principal, database) -> None:
    made = capture(alice, stored=False, consent=False)
    await captures.record(alice, made)
    for call in (
        captures.get(alice, made.id),
        captures.update(alice, made.id, metadata={}),
        captures.delete(alice, made.id),
    ):
        with pytest.raises(NotFound):
            await call
    with pytest.raises(InvalidValue, match="after"):
        await captures.list(alice, after=made.id)
    assert (await captures.list(alice)).items == []
    assert await rows(database) == 1


async def test_listing_filters_and_pages(captures: Captures, alice: Principal) -> None:
    odd = 'k"\\$.[0] é'
    made = [capture(alice, str(n), metadata={odd: str(n % 2), "all": "x"}, requested=f"m{n % 3}") for n in range(9)]
    for one in made:
        await captures.record(alice, one)
    ids = [one.id for one in made]
    assert [c.id for c in (await captures.list(alice)).items] == ids
    assert [c.id for c in (await captures.list(alice, order="desc")).items] == ids[::-1]
    assert [c.id for c in (await captures.list(alice, metadata={odd: "1", "all": "x"})).items] == ids[1::2]
    assert (await captures.list(alice, metadata={odd: "1", "all": "y"})).items == []
    assert (await captures.list(alice, metadata={"none": "1"})).items == []
    assert [c.id for c in (await captures.list(alice, model="m1")).items] == ids[1::3]
    page = await captures.list(alice, metadata={odd: "0"}, limit=2)
    assert ([c.id for c in page.items], page.has_more) == ([ids[0], ids[2]], True)
    page = await captures.list(alice, metadata={odd: "0"}, limit=3, after=ids[2])
    assert ([c.id for c in page.items], page.has_more) == ([ids[4], ids[6], ids[8]], False)
    for wrong in ({"limit": 101}, {"limit": 0}, {"metadata": {"a": "x" * 513}}, {"model": "x\0"}):
        with pytest.raises(InvalidValue):
            await captures.list(alice, **wrong)


async def test_a_turn_and_its_capture_share_their_fate(
    captures: Captures, conversations: Conversations, alice: Principal, database: Database
) -> None:
    into = (await conversations.create(alice)).id
    made = capture(alice, conversation_id=into)
    await captures.record(alice, made, turn=(into, TURN))
    [answer, _] = await conversations.last(alice, into)
    assert (await captures.get(alice, made.id)).item_id == answer.id
    with pytest.raises(KeyError):
        await captures.record(alice, capture(alice, conversation_id=into), turn=(into, [*TURN, {"type": "odd"}]))
    with pytest.raises(Exception, match="captures"):  # the id is taken: nothing of the turn stays
        await captures.record(alice, made, turn=(into, TURN))
    assert len(await conversations.last(alice, into)) == 2
    assert await rows(database) == 1
    await captures.record(alice, None, turn=(into, TURN))
    assert (len(await conversations.last(alice, into)), await rows(database)) == (4, 1)
    await conversations.delete_item(alice, into, answer.id)
    assert (await captures.get(alice, made.id)).item_id is None
    await conversations.delete(alice, into)
    assert await rows(database) == 0
    for turn in (None, (into, TURN)):
        with pytest.raises(NotFound, match="conversation"):
            await captures.record(alice, capture(alice, conversation_id=into), turn=turn)
    assert await rows(database) == 0


async def test_only_old_captures_are_pruned(captures: Captures, alice: Principal, mallory: Principal) -> None:
    old, new = capture(alice, created_at=1000.0), capture(alice)
    await captures.record(alice, old)
    await captures.record(alice, new)
    await captures.record(mallory, capture(mallory, created_at=1000.0, stored=False))
    assert await captures.prune(3600) == 2
    assert (await captures.list(alice)).items == [new]


async def test_dependent_writes_share_the_turns_transaction(
    captures: Captures, conversations: Conversations, jobs: Jobs, alice: Principal, database: Database
) -> None:
    id = (await conversations.create(alice)).id

    def enqueue(connection: Connection, added: Sequence[Item]) -> None:
        add_job(connection, alice, "work", {"first": added[0].seq, "last": added[-1].seq}, group=(id, None))

    def fail(connection: Connection, added: Sequence[Item]) -> None:
        enqueue(connection, added)
        raise InvalidValue("work", "no")

    with pytest.raises(InvalidValue):
        await captures.record(alice, capture(alice, conversation_id=id), turn=(id, TURN), then=fail)
    assert (await rows(database), (await jobs.list(alice)).items) == (0, [])
    assert (await conversations.list_items(alice, id)).items == []
    for _ in range(2):
        await captures.record(alice, capture(alice, conversation_id=id), turn=(id, TURN), then=enqueue)
    made = (await jobs.list(alice)).items
    assert [job.payload for job in made] == [{"first": 3, "last": 4}, {"first": 1, "last": 2}]
    assert (await rows(database), len((await conversations.list_items(alice, id)).items)) == (2, 4)
    first = await jobs.claim(["work"], "w", 60)
    assert first is not None
    assert first.payload["first"] == 1
    assert await jobs.claim(["work"], "w", 60) is None  # one after another
