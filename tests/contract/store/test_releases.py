"""Releases and the outcomes of canaries, over both databases."""

from __future__ import annotations

import asyncio

import pytest

from serving.config import Managed
from serving.core.ids import now
from serving.hub.canary import CanaryOutcome, begun, counted, tallies_of
from serving.hub.outcomes import Outcomes
from serving.hub.releases import Releases
from serving.store.errors import Conflict, NotFound
from serving.store.feedback import Rating, Ratings
from tests.store.captures import TURN, capture

MANAGED = Managed(base="base", max_first_token_s=2)


@pytest.fixture
def releases(database):
    return Releases(database)


@pytest.fixture
def create(releases, alice):
    def create(alias="chat", target="new", usable=lambda model: True, managed=MANAGED):
        return releases.create(alice, alias, target, managed=managed, share=0.1, evaluation=None, usable=usable)

    return create


async def test_a_release_goes_from_canary_to_an_end(releases, create, alice):
    release = await create()
    assert (release.status, release.revision, release.base, release.tenant) == ("canary", 1, "base", "acme")
    for change, status, revision in (("pause", "paused", 2), ("resume", "canary", 3), ("promote", "promoted", 4)):
        changed = await releases.change(alice, release.id, change)
        assert (changed.status, changed.revision) == (status, revision)
    assert changed.reason == "requested"
    assert changed.ended_at is not None
    assert [each.id for each in (await releases.list(alice, alias="chat")).items] == [release.id]
    assert (await releases.list(alice, alias="other")).items == []


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ((), "resume"),
        (("pause",), "pause"),
        (("promote",), "promote"),
        (("promote",), "pause"),
        (("rollback",), "promote"),
        (("rollback",), "rollback"),
    ],
)
async def test_a_status_that_does_not_allow_a_change_is_a_conflict(releases, create, alice, before, change):
    release = await create()
    for each in before:
        await releases.change(alice, release.id, each)
    with pytest.raises(Conflict):
        await releases.change(alice, release.id, change)


async def test_one_of_two_concurrent_changes_is_a_conflict(releases, create, alice):
    release = await create()
    both = (releases.change(alice, release.id, each, revision=1) for each in ("promote", "rollback"))
    found = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(isinstance(each, Conflict) for each in found) == [False, True]
    with pytest.raises(Conflict, match="revision 2"):
        await releases.change(alice, release.id, "rollback", revision=1)


async def test_an_alias_has_one_open_release(releases, create, alice):
    begun_at_once = await asyncio.gather(create(target="a"), create(target="b"), return_exceptions=True)
    assert sorted(isinstance(each, Conflict) for each in begun_at_once) == [False, True]
    await create(alias="other")
    with pytest.raises(Conflict):
        await create(alias="new alias", target="base")


async def test_the_promoted_model_is_the_next_base_and_can_be_rolled_back(releases, create, alice):
    one = await create(target="one")
    await releases.change(alice, one.id, "promote")
    two = await create(target="two")
    assert two.base == "one"
    with pytest.raises(Conflict, match="in progress"):
        await releases.change(alice, one.id, "rollback")
    await releases.change(alice, two.id, "promote")
    assert (await releases.live(["chat"]))[1]["chat"].target == "two"
    with pytest.raises(Conflict, match="later"):
        await releases.change(alice, one.id, "rollback")
    await releases.change(alice, two.id, "rollback")
    assert (await releases.live(["chat"]))[1]["chat"].target == "one"
    assert (await create(target="three", usable=lambda model: model != "one")).base == "base"


async def test_a_foreign_tenant_sees_nothing(releases, create, mallory):
    release = await create()
    for action in (releases.get(mallory, release.id), releases.change(mallory, release.id, "promote")):
        with pytest.raises(NotFound):
            await action
    assert (await releases.list(mallory)).items == []


async def test_outcomes_are_counted_once_by_whoever_is_first(releases, create, alice):
    release = await create()
    tallies = counted(begun(MANAGED.guards), [CanaryOutcome("requests", True, "errors", 1.0)])
    found = [await releases.judge(release, now() + n, tallies, "rollback", "guards") for n in (1, 2)]
    assert found == [True, False]
    ended = await releases.get(alice, release.id)
    assert (ended.status, ended.reason, ended.revision) == ("rolled_back", "guards", 2)
    assert tallies_of(ended.tallies) == tallies


async def test_outcomes_are_read_from_captures_and_their_first_ratings(
    database, create, captures, conversations, alice, mallory
):
    release = await create()
    at = release.created_at
    talk = (await conversations.create(alice)).id
    answers = [
        ("new", {}, None),
        ("base", {"outcome": "error", "error_code": "engine_error"}, "errors"),
        ("new", {"outcome": "length"}, "truncation"),
        ("base", {"outcome": "error", "error_code": "content_filter"}, "guardrails"),
        ("new", {"timings": {"queue": 1.5, "first_token": 0.6}}, "first_token"),
        ("new", {"outcome": "cancelled"}, None),
        ("lora", {"adapter": "new"}, None),
        ("lora", {"adapter": "other"}, "left out"),
        ("other", {}, "left out"),
        ("new", {"alias": "another"}, "left out"),
    ]
    ids = []
    for n, (model, changes, _) in enumerate(answers):
        fields = {"alias": "chat", "model": model, "created_at": at + (n + 1) / 100}
        made = capture(mallory if n == 0 else alice, **fields | changes)
        if n == 1:
            await captures.record(alice, made, turn=(talk, TURN))
        else:
            await captures.record(alice, made)
        ids.append(made.id)
    ratings = Ratings(database)
    answer = (await conversations.list_items(alice, talk, order="desc")).items[0].id
    await ratings.create(mallory, ("response", ids[0]), Rating(thumb="up"))
    await ratings.create(alice, ("message", answer), Rating(score=0.4))
    await ratings.create(alice, ("response", ids[2]), Rating(thumb="down", score=1.0))
    await ratings.create(alice, ("response", ids[2]), Rating(thumb="up"))  # not the first of this answer
    await ratings.create(alice, ("response", ids[4]), Rating(comment="hm"))
    found, until = await Outcomes(database).between(release, MANAGED, at - 1, at + 60)
    said = [(each.canary, each.bad) for each in found if each.kind == "requests"]
    assert said == [(model != "base", bad) for model, _, bad in answers if bad != "left out"]
    assert until == at + 60
    rated = [(each.canary, each.bad) for each in found if each.kind == "ratings"]
    assert sorted(rated, key=str) == [(False, "ratings"), (True, "ratings"), (True, None)]
    later, _ = await Outcomes(database).between(release, MANAGED, at + 0.045, at + 0.055)
    assert [each.bad for each in later if each.kind == "requests"] == ["first_token"]  # ratings are as old as the test
    guards = Managed(base="base", guards=("errors",))
    found, _ = await Outcomes(database).between(release, guards, at - 1, at + 60)
    assert [each.bad for each in found if each.bad] == ["errors"]
