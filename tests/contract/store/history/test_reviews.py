"""Reviewers read what was consented to, of their tenant, and nothing that was deleted since."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serving.core.principal import STACK, Principal
from serving.store.access import Access
from serving.store.captures import Captures
from serving.store.conversations import Conversations
from serving.store.errors import InvalidValue, NotFound
from serving.store.feedback import Rating, Ratings
from serving.store.files import Files
from serving.store.history.reviews import Reviews
from serving.store.jobs.job import ERASE
from serving.store.jobs.queue import Jobs
from serving.store.relational.database import Database
from tests.store.captures import TURN, capture
from tests.store.statements import statements, uses_index


@pytest.fixture
def reviews(database: Database) -> Reviews:
    return Reviews(database)


@pytest.fixture
def reviewer(alice: Principal) -> Principal:
    return replace(alice, user="rita", role="operator", scopes=frozenset(("review",)))


async def ids(reviews: Reviews, whose: Principal, **query: object) -> list[str]:
    return [one.id for one in (await reviews.page(whose, **query)).items]  # type: ignore[arg-type]


async def test_only_answers_with_consent_are_read(
    reviews: Reviews, captures: Captures, alice: Principal, mallory: Principal, reviewer: Principal
) -> None:
    for who, id, consent in (
        (alice, "chatcmpl_yes", True),
        (alice, "chatcmpl_no", False),
        (mallory, "chatcmpl_evil", True),
    ):
        await captures.record(who, capture(who, id=id, consent=consent))
    assert await ids(reviews, reviewer) == ["chatcmpl_yes"]
    found, texts = await reviews.get(reviewer, "chatcmpl_yes")
    assert (found.model, found.outcome, found.up, found.down) == ("m", "completed", 0, 0)
    assert texts.request["messages"][0]["content"] == "hi"
    assert texts.answer[0]["message"]["content"] == "echo hi"
    for id in ("chatcmpl_no", "chatcmpl_evil", "chatcmpl_none"):
        with pytest.raises(NotFound):
            await reviews.get(reviewer, id)
        with pytest.raises(InvalidValue):  # nor is it told whether it is there
            await reviews.page(reviewer, after=id)


async def test_answers_are_selected(
    reviews: Reviews, captures: Captures, conversations: Conversations, alice: Principal, reviewer: Principal
) -> None:
    made = await conversations.create(alice)
    of = {"conversation_id": made.id, "created_at": 30.0, "assistant": "docs"}
    await captures.record(alice, capture(alice, id="chatcmpl_c", **of), turn=(made.id, TURN))
    await captures.record(alice, capture(alice, id="chatcmpl_b", created_at=20.0, adapter="fine"))
    await captures.record(alice, capture(alice, id="chatcmpl_a", created_at=10.0, model="small"))
    for query, found in (
        ({}, ["c", "b", "a"]),
        ({"order": "asc"}, ["a", "b", "c"]),
        ({"assistant": "docs"}, ["c"]),
        ({"model": "fine"}, ["b"]),
        ({"model": "m"}, ["c"]),
        ({"model": "small"}, ["a"]),
        ({"conversation": made.id}, ["c"]),
        ({"start": 20, "end": 30}, ["b"]),
        ({"after": "chatcmpl_c", "limit": 1}, ["b"]),
        ({"thumb": "up"}, []),
    ):
        assert await ids(reviews, reviewer, **query) == [f"chatcmpl_{each}" for each in found], query
    assert (await reviews.page(reviewer, limit=2)).has_more


async def test_ratings_count_with_consent(
    database: Database,
    reviews: Reviews,
    captures: Captures,
    conversations: Conversations,
    alice: Principal,
    reviewer: Principal,
) -> None:
    made = await conversations.create(alice)
    of_item = capture(alice, id="chatcmpl_item", conversation_id=made.id)
    await captures.record(alice, of_item, turn=(made.id, TURN))
    await captures.record(alice, capture(alice, id="chatcmpl_whole", created_at=1.0))
    answer = (await conversations.last(alice, made.id))[0]
    ratings = Ratings(database)
    for target, rating in (
        (("message", answer.id), Rating(thumb="down", comment="wrong", consent=True)),
        (("response", "chatcmpl_item"), Rating(thumb="up", comment="private")),
        (("response", "chatcmpl_whole"), Rating(thumb="up", tags=["kind"], consent=True)),
    ):
        await ratings.create(alice, target, rating)  # type: ignore[arg-type]
    listed = [(one.id, one.up, one.down) for one in (await reviews.page(reviewer)).items]
    assert listed == [("chatcmpl_item", 0, 1), ("chatcmpl_whole", 1, 0)]
    assert await ids(reviews, reviewer, thumb="down") == ["chatcmpl_item"]
    assert await ids(reviews, reviewer, thumb="up") == ["chatcmpl_whole"]
    found, texts = await reviews.get(reviewer, "chatcmpl_item")
    assert ((found.up, found.down), [rating.comment for rating in texts.ratings]) == ((0, 1), ["wrong"])


async def test_what_is_being_erased_is_not_read(
    reviews: Reviews, captures: Captures, jobs: Jobs, alice: Principal, reviewer: Principal
) -> None:
    bob = replace(alice, user="bob")
    for who in (alice, bob):
        await captures.record(who, capture(who, id=f"chatcmpl_{who.user}"))
    await jobs.enqueue(reviewer, ERASE, {"user": "bob", "subject": None, "dry_run": True})
    await jobs.enqueue(replace(reviewer, tenant="evil"), ERASE, {"user": "alice", "subject": "u", "dry_run": False})
    assert len(await ids(reviews, reviewer)) == 2
    erasure = await jobs.enqueue(reviewer, ERASE, {"user": "bob", "subject": "user_1", "dry_run": False})
    assert await ids(reviews, reviewer) == ["chatcmpl_alice"]
    with pytest.raises(NotFound):
        await reviews.get(reviewer, "chatcmpl_bob")
    claimed = await jobs.claim([ERASE], "worker", 60)
    while claimed is not None and claimed.id != erasure.id:
        claimed = await jobs.claim([ERASE], "worker", 60)
    assert await ids(reviews, reviewer) == ["chatcmpl_alice"]


async def test_an_answer_whose_turn_was_deleted_is_not_read(
    reviews: Reviews, captures: Captures, conversations: Conversations, alice: Principal, reviewer: Principal
) -> None:
    made = await conversations.create(alice)
    kept = capture(alice, id="chatcmpl_gone", conversation_id=made.id)
    await captures.record(alice, kept, turn=(made.id, TURN))
    broken = capture(alice, id="chatcmpl_broken", conversation_id=made.id, outcome="cancelled", created_at=1.0)
    await captures.record(alice, broken)
    assert await ids(reviews, reviewer) == ["chatcmpl_gone", "chatcmpl_broken"]
    answer = (await conversations.last(alice, made.id))[0]
    await conversations.delete_item(alice, made.id, answer.id)
    assert await ids(reviews, reviewer) == ["chatcmpl_broken"]
    with pytest.raises(NotFound):
        await reviews.get(reviewer, "chatcmpl_gone")


async def test_passages_are_read_as_far_as_their_files(
    reviews: Reviews, captures: Captures, files: Files, alice: Principal, reviewer: Principal
) -> None:
    content = {"purpose": "assistants", "bytes": 1, "sha256": "0" * 64, "kind": "text/plain"}
    root = Principal(STACK, "admin", "key")
    for who, id, access in (
        (alice, "file_all", None),
        (alice, "file_own", Access()),
        (alice, "file_named", Access(users=["rita"])),
        (alice, "file_gone", None),
        (root, "file_stack", None),
        (root, "file_closed", Access()),
        (replace(alice, tenant="evil"), "file_evil", None),
    ):
        await files.create(who, id, filename=f"{id}.md", access=access, **content)  # type: ignore[arg-type]
    await files.delete(alice, "file_gone")
    named = ("all", "own", "named", "gone", "stack", "closed", "evil", "never")
    chunks = [{"file_id": f"file_{name}", "text": name} for name in named]
    await captures.record(alice, capture(alice, id="chatcmpl_1", chunks=chunks))
    _, texts = await reviews.get(reviewer, "chatcmpl_1")
    assert texts.readable == {"file_all", "file_named", "file_stack"}


async def test_a_page_takes_few_statements_and_an_index(
    database: Database, reviews: Reviews, captures: Captures, alice: Principal, reviewer: Principal
) -> None:
    for n in range(4):
        await captures.record(alice, capture(alice, id=f"chatcmpl_{n}", created_at=float(n), consent=n != 1))
    with statements(database) as seen:
        page = await reviews.page(reviewer, after="chatcmpl_3", limit=2, assistant=None, start=0)
    assert [one.id for one in page.items] == ["chatcmpl_2", "chatcmpl_0"]
    assert len(seen) == 3, seen
    await uses_index(database, seen[1], "ix_captures_consent")
    with statements(database) as seen:
        await reviews.get(reviewer, "chatcmpl_0")
    assert len(seen) <= 3, seen
