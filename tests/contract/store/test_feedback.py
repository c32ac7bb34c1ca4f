from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from serving.core.principal import Principal
from serving.store import feedback
from serving.store.captures import Captures
from serving.store.conversations import Conversations
from serving.store.errors import Conflict, InvalidValue, NotFound, TooMany
from serving.store.feedback import Kind, Rating, Ratings
from serving.store.relational.database import Database
from tests.store.captures import capture

UP = Rating(thumb="up")
SAID = {"type": "message", "role": "user", "status": "completed", "content": [{"type": "input_text", "text": "hi"}]}


@pytest.fixture
def ratings(database: Database) -> Ratings:
    return Ratings(database)


@pytest.fixture
async def targets(captures: Captures, conversations: Conversations, alice: Principal) -> dict[Kind, str]:
    """One of each kind, all of alice's."""
    made = capture(alice)
    conversation = (await conversations.create(alice)).id
    await captures.record(alice, made, turn=(conversation, [SAID]))
    [item] = await conversations.last(alice, conversation)
    return {"response": made.id, "message": item.id, "session": conversation}


@pytest.mark.parametrize("kind", ["response", "message", "session"])
async def test_a_rating_is_stored_changed_and_deleted_by_its_owner_only(
    ratings: Ratings, targets: dict[Kind, str], alice: Principal, mallory: Principal, kind: Kind
) -> None:
    target = (kind, targets[kind])
    said = Rating("down", 0.0, ["a", "é"], "no \U0001f511", "yes", None, True)
    made = await ratings.create(alice, target, said, id="mine")
    assert (made.id, made.target, made.thumb, made.score, made.tags, made.comment, made.correction, made.consent) == (
        "mine",
        target,
        "down",
        0.0,
        ["a", "é"],
        "no \U0001f511",
        "yes",
        True,
    )
    assert await ratings.get(alice, "mine") == made
    other = await ratings.create(alice, ("session", targets["session"]), UP)
    assert other.id.startswith("fb_")
    assert (await ratings.list(alice, targets=[targets[kind]], order="asc")).items[0] == made
    assert (await ratings.list(alice, targets=[targets[kind], targets["session"]])).items == [other, made]
    assert (await ratings.list(alice, targets=["none"])).items == []
    assert (await ratings.list(alice)).items == [other, made]
    assert (await ratings.list(alice, limit=1, after=other.id)).items == [made]
    for call in (ratings.get(mallory, "mine"), ratings.delete(mallory, "mine"), ratings.get(alice, "none")):
        with pytest.raises(NotFound):
            await call
    assert (await ratings.list(mallory, targets=[targets[kind]])).items == []
    await ratings.delete(alice, "mine")
    with pytest.raises(NotFound):
        await ratings.delete(alice, "mine")
    assert (await ratings.list(alice)).items == [other]


async def test_the_same_id_is_the_same_rating(ratings: Ratings, targets: dict[Kind, str], alice: Principal) -> None:
    target: tuple[Kind, str] = ("response", targets["response"])
    rating = Rating(score=0.1 + 0.2, tags=["b", "a"])
    made = await ratings.create(alice, target, rating, id="x")
    assert await ratings.create(alice, target, rating, id="x") == made
    for other in (replace(rating, score=0.3), replace(rating, tags=["a", "b"]), replace(rating, consent=True)):
        with pytest.raises(Conflict):
            await ratings.create(alice, target, other, id="x")
    with pytest.raises(Conflict):
        await ratings.create(alice, ("session", targets["session"]), rating, id="x")
    assert (await ratings.list(alice)).items == [made]


async def test_tenants_choose_ids_for_themselves(
    ratings: Ratings, captures: Captures, targets: dict[Kind, str], alice: Principal, mallory: Principal
) -> None:
    theirs = capture(mallory)
    await captures.record(mallory, theirs)
    await ratings.create(alice, ("response", targets["response"]), UP, id="x")
    await ratings.create(mallory, ("response", theirs.id), Rating(thumb="down"), id="x")
    assert ((await ratings.get(alice, "x")).thumb, (await ratings.get(mallory, "x")).thumb) == ("up", "down")


async def test_concurrent_identical_ratings_create_one(url: str, targets: dict[Kind, str], alice: Principal) -> None:
    target: tuple[Kind, str] = ("response", targets["response"])
    async with Database(url) as one, Database(url) as two:
        stores = [Ratings(one), Ratings(two)]
        for n in range(10):
            made = await asyncio.gather(*(s.create(alice, target, UP, id=f"r{n}") for s in stores * 4))
            assert len({m.created_at for m in made}) == 1
        assert len((await stores[0].list(alice)).items) == 10


@pytest.mark.parametrize("kind", ["response", "message", "session"])
async def test_unknown_targets_cannot_be_rated(
    ratings: Ratings, targets: dict[Kind, str], alice: Principal, mallory: Principal, kind: Kind
) -> None:
    wrong: Kind = "session" if kind != "session" else "response"
    for caller, target in (
        (mallory, (kind, targets[kind])),
        (alice, (wrong, targets[kind])),
        (alice, (kind, "\ud800")),
        (alice, (kind, "none")),
    ):
        with pytest.raises(NotFound) as error:
            await ratings.create(caller, target, UP)  # type: ignore[arg-type]
        assert error.value.param == "target.id"
    assert (await ratings.list(alice)).items == []


async def test_ratings_are_deleted_with_their_target(
    ratings: Ratings,
    captures: Captures,
    conversations: Conversations,
    targets: dict[Kind, str],
    alice: Principal,
) -> None:
    deletions: dict[Kind, Callable[[], Any]] = {
        "message": lambda: conversations.delete_item(alice, targets["session"], targets["message"]),
        "response": lambda: captures.delete(alice, targets["response"]),
        "session": lambda: conversations.delete(alice, targets["session"]),
    }
    for kind in deletions:
        await ratings.create(alice, (kind, targets[kind]), UP, id=kind)
    left = list(deletions)
    for kind, delete in deletions.items():
        await delete()
        left.remove(kind)
        assert [r.id for r in (await ratings.list(alice, order="asc")).items] == left
        with pytest.raises(NotFound):
            await ratings.create(alice, (kind, targets[kind]), UP, id=kind)


async def test_a_choice_is_between_two_answers_to_one_prompt(
    ratings: Ratings, captures: Captures, targets: dict[Kind, str], alice: Principal, mallory: Principal
) -> None:
    other, elsewhere, theirs = capture(alice), capture(alice, "something else"), capture(mallory)
    for owner, made in ((alice, other), (alice, elsewhere), (mallory, theirs)):
        await captures.record(owner, made)
    target: tuple[Kind, str] = ("response", targets["response"])
    made = await ratings.create(alice, target, Rating(rejected_id=other.id))
    assert (made.capture_id, made.rejected_id) == (targets["response"], other.id)
    for id in (theirs.id, "none"):
        with pytest.raises(NotFound) as error:
            await ratings.create(alice, target, Rating(rejected_id=id))
        assert error.value.param == "rejected"
    for wrong, to in ((elsewhere.id, target), (targets["response"], target), (other.id, ("session", "x"))):
        with pytest.raises(InvalidValue, match="rejected"):
            await ratings.create(alice, to, Rating(rejected_id=wrong))  # type: ignore[arg-type]
    await captures.delete(alice, other.id)
    assert (await ratings.list(alice)).items == []
    plain = [capture(alice, prompt={"prompt": text}) for text in ("a", "a", "b")]  # of `/v1/completions`
    for completion in plain:
        await captures.record(alice, completion)
    same, other_prompt = plain[1].id, plain[2].id
    await ratings.create(alice, ("response", plain[0].id), Rating(rejected_id=same))
    with pytest.raises(InvalidValue, match="rejected"):
        await ratings.create(alice, ("response", plain[0].id), Rating(rejected_id=other_prompt))


@pytest.mark.parametrize(
    "rating",
    [
        Rating(),
        Rating(consent=True),
        Rating(thumb="sideways"),  # type: ignore[arg-type]
        Rating(score=1.0001),
        Rating(score=-0.0001),
        Rating(score=float("nan")),
        Rating(tags=["x"] * 17),
        Rating(tags=["x" * 65]),
        Rating(tags=[""]),
        Rating(tags=["\0"]),
        Rating(comment=""),
        Rating(comment="x" * 10_001),
        Rating(comment="\ud800"),
        Rating(correction="x" * 200_001),
    ],
)
async def test_invalid_ratings_are_rejected(
    ratings: Ratings, targets: dict[Kind, str], alice: Principal, rating: Rating
) -> None:
    with pytest.raises(InvalidValue):
        await ratings.create(alice, ("response", targets["response"]), rating)
    assert (await ratings.list(alice)).items == []


@pytest.mark.parametrize("id", ["", "x" * 65, "a b", "é", "\0"])
async def test_invalid_ids_are_rejected(ratings: Ratings, targets: dict[Kind, str], alice: Principal, id: str) -> None:
    with pytest.raises(InvalidValue, match="id"):
        await ratings.create(alice, ("response", targets["response"]), UP, id=id)


async def test_a_target_has_limited_numbers_and_texts_of_ratings(
    ratings: Ratings, targets: dict[Kind, str], alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "MAX_OF_TARGET", 5)
    monkeypatch.setattr(feedback, "MAX_BYTES_OF_TARGET", 1000)
    answer: tuple[Kind, str] = ("response", targets["response"])
    long = await ratings.create(alice, answer, Rating(correction="\u00e9" * 300, comment="c" * 100), id="long")
    with pytest.raises(TooMany, match="1000 bytes"):
        await ratings.create(alice, answer, Rating(correction="x" * 301))
    assert await ratings.create(alice, answer, Rating(correction="\u00e9" * 300, comment="c" * 100), id="long") == long
    for _ in range(4):
        await ratings.create(alice, answer, UP)
    with pytest.raises(TooMany, match="5 ratings"):
        await ratings.create(alice, answer, UP)
    await ratings.create(alice, ("session", targets["session"]), Rating(correction="x" * 1000))
    await ratings.delete(alice, "long")
    await ratings.create(alice, answer, Rating(correction="x" * 1000))
