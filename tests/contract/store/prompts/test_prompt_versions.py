"""Prompts in both databases: versions that stay, labels that move by compare and swap, and who may do what."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import pytest

from serving.assistants import register
from serving.assistants.register import AssistantRegister
from serving.core.principal import SCOPES_OF, Principal
from serving.protocol.assistants import AssistantSettings
from serving.protocol.prompts.requests import PromptReference
from serving.store.access import Access
from serving.store.errors import Conflict, InvalidValue, NotFound, NotOwner
from serving.store.prompts import prompts as module
from serving.store.prompts.prompts import Prompts
from serving.store.relational.database import Database

ANN = Principal("acme", "ann", "key_a")
BOB = Principal("acme", "bob", "key_b")
BOSS = Principal("acme", "boss", "key_c", scopes=SCOPES_OF["admin"], role="admin")
OTHER = Principal("other", "ann", "key_d")


@pytest.fixture
def prompts(database: Database) -> Prompts:
    return Prompts(database)


async def made(prompts: Prompts, name: str = "greeting", who: Principal = ANN) -> str:
    return (await prompts.create(who, name, "How we greet", "Hi {{name}}", ["name"])).id


async def test_versions_never_change(prompts: Prompts) -> None:
    id = await made(prompts)
    second = await prompts.add_version(ANN, id, "Hello {{name}} ☀", ["name"])
    assert (second.version, second.sha256) == (2, hashlib.sha256("Hello {{name}} ☀".encode()).hexdigest())
    found = await prompts.get(BOB, id)
    assert (found.version, found.labels, found.user, found.description) == (2, {}, "ann", "How we greet")
    assert [one.text for one in (await prompts.list_versions(BOB, id)).items] == ["Hello {{name}} ☀", "Hi {{name}}"]
    first = (await prompts.list_versions(BOB, id, limit=1, order="asc")).items[0]
    assert (await prompts.list_versions(BOB, id, after=first.id, order="asc")).items == [second]
    assert await prompts.version(BOB, id, "2") == second
    assert (await prompts.describe(ANN, id, "new")).description == "new"
    assert (await prompts.version(BOB, id, "1")).text == "Hi {{name}}"


async def test_a_version_is_named_by_number_label_or_default(prompts: Prompts) -> None:
    id = await made(prompts)
    await prompts.add_version(ANN, id, "two", [])
    assert (await prompts.version(BOB, id)).version == 2, "the newest, without the label production"
    await prompts.set_label(ANN, id, "production", 1)
    assert (await prompts.version(BOB, id)).version == 1
    assert (await prompts.version(BOB, id, "latest")).version == 2
    await prompts.set_label(ANN, id, "staging", 2)
    assert (await prompts.version(BOB, id, "staging")).version == 2
    assert (await prompts.get(BOB, id)).labels == {"production": 1, "staging": 2}
    for asked in ("3", "0", "9" * 12, "nothing", "nul\0", "\ud800", "x" * 500):
        with pytest.raises(NotFound) as caught:
            await prompts.version(BOB, id, asked, at="prompt.")
        assert caught.value.param == "prompt.version"
    with pytest.raises(NotFound) as caught:
        await prompts.version(BOB, "greeting", at="prompt.")
    assert caught.value.param == "prompt.id", "a name is no id"


async def test_an_opening_is_that_of_the_text_that_is_used(prompts: Prompts) -> None:
    long = await made(prompts)
    await prompts.add_version(ANN, long, "☀" * 5_000, [])
    short = await made(prompts, "short")
    await prompts.set_label(ANN, short, "staging", 1)
    theirs = await made(prompts, who=OTHER)
    listed = (await prompts.list(BOB)).items
    assert await prompts.openings(BOB, listed) == {long: "☀" * 500, short: "Hi {{name}}"}
    await prompts.set_label(ANN, long, "production", 1)
    assert (await prompts.openings(BOB, (await prompts.list(BOB)).items))[long] == "Hi {{name}}"
    assert await prompts.openings(BOB, (await prompts.list(OTHER)).items) == {}, theirs
    assert await prompts.openings(BOB, []) == {}


async def test_a_label_moves_only_from_where_it_was_seen(prompts: Prompts) -> None:
    id = await made(prompts)
    for text in ("two", "three"):
        await prompts.add_version(ANN, id, text, [])
    await prompts.set_label(ANN, id, "production", 1, expected=0)
    with pytest.raises(Conflict, match="points to version 1"):
        await prompts.set_label(ANN, id, "production", 2, expected=0)
    with pytest.raises(Conflict, match="points to version 1"):
        await prompts.set_label(ANN, id, "production", 2, expected=3)
    with pytest.raises(Conflict, match="does not exist"):
        await prompts.set_label(ANN, id, "staging", 2, expected=1)
    moves = [prompts.set_label(ANN, id, "production", number, expected=1) for number in (2, 3, 2, 3)]
    results = await asyncio.gather(*moves, return_exceptions=True)
    won, again = [one for one in results if not isinstance(one, BaseException)]
    assert [type(one) for one in results if one not in (won, again)] == [Conflict] * 2
    # Whoever repeats the move that won, since its answer was lost, is told that the label is there.
    assert {won.version, again.version} == {(await prompts.get(ANN, id)).labels["production"]}
    assert {won.before, again.before} == {1, won.version}
    with pytest.raises(Conflict):
        await prompts.delete_label(ANN, id, "production", expected=1)
    assert await prompts.delete_label(ANN, id, "production", expected=won.version) == won.version
    assert (await prompts.get(ANN, id)).labels == {}
    for name in ("production", "nul\0"):
        with pytest.raises(NotFound):
            await prompts.delete_label(ANN, id, name)
    with pytest.raises(NotFound):
        await prompts.set_label(ANN, id, "production", 4)
    with pytest.raises(InvalidValue):
        await prompts.set_label(ANN, id, "latest", 1)


async def test_concurrent_versions_get_different_numbers(prompts: Prompts) -> None:
    id = await made(prompts)
    added = await asyncio.gather(*(prompts.add_version(ANN, id, f"text {n}", []) for n in range(5)))
    assert sorted(one.version for one in added) == [2, 3, 4, 5, 6]
    assert (await prompts.get(ANN, id)).version == 6


async def test_others_may_read_and_only_the_owner_and_admins_change(prompts: Prompts) -> None:
    id = await made(prompts)
    for who, error in ((BOB, NotOwner), (OTHER, NotFound)):
        for change in (
            prompts.describe(who, id, "mine"),
            prompts.add_version(who, id, "mine", []),
            prompts.set_label(who, id, "production", 1),
            prompts.delete_label(who, id, "production"),
            prompts.delete(who, id),
        ):
            with pytest.raises(error):
                await change
    for read in (prompts.get(OTHER, id), prompts.list_versions(OTHER, id), prompts.version(OTHER, id, "1")):
        with pytest.raises(NotFound):
            await read
    assert (await prompts.list(OTHER)).items == []
    version = await prompts.add_version(BOSS, id, "from an admin", [])
    assert (version.user, version.by_operator) == ("boss", True)
    assert (await prompts.version(BOB, id, "1")).by_operator is False
    assert [(await prompts.version(who, id, "1")).by_another(who) for who in (ANN, BOB)] == [False, True]
    assert not (await prompts.version(BOB, id, "2")).by_another(BOB)
    # A key that is trusted with instructions does not trust what a lesser key of the same user stored.
    builder = replace(ANN, scopes=frozenset(("prompt",)))
    lesser = await prompts.version(ANN, id, "1")
    assert (lesser.trusted_for(builder), lesser.taints(builder), lesser.taints(ANN)) == (False, True, False)
    own = await prompts.add_version(ANN, id, "trusted", [], trusted=True)
    assert (own.trusted_for(builder), own.taints(builder)) == (True, False)
    assert (own.trusted_for(BOB), own.taints(BOB)) == (False, True)
    assert (version.trusted_for(builder), version.taints(builder)) == (False, False)
    await prompts.delete(BOSS, id)
    with pytest.raises(NotFound):
        await prompts.version(BOB, id)


async def test_names_are_each_tenants_own(prompts: Prompts) -> None:
    ids = [await made(prompts, name) for name in ("a", "b", "c")]
    with pytest.raises(Conflict):
        await made(prompts, "a", BOB)
    assert await made(prompts, "a", OTHER) not in ids
    page = await prompts.list(BOB, limit=2, order="asc")
    assert ([one.id for one in page.items], page.has_more) == (ids[:2], True)
    assert [one.id for one in (await prompts.list(BOB, after=ids[1], order="asc")).items] == ids[2:]
    await prompts.delete(ANN, ids[0])
    assert await made(prompts, "a", BOB) not in ids, "another prompt, with another id"


async def test_limits_are_kept(prompts: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PROMPTS", 2)
    monkeypatch.setattr(module, "MAX_VERSIONS", 2)
    monkeypatch.setattr(module, "MAX_LABELS", 1)
    id = await made(prompts, "a")
    await made(prompts, "b")
    with pytest.raises(InvalidValue):
        await made(prompts, "c")
    await prompts.add_version(ANN, id, "two", [])
    with pytest.raises(Conflict):
        await prompts.add_version(ANN, id, "three", [])
    await prompts.set_label(ANN, id, "x", 1)
    with pytest.raises(Conflict):
        await prompts.set_label(ANN, id, "y", 1)
    await prompts.set_label(ANN, id, "x", 2)
    for name, description, text, param in (
        ("n", "nul \0", "t", "description"),
        ("n", "", "nul \0", "text"),
        ("n", "", "\ud800", "text"),
        ("n", "x" * 2001, "t", "description"),
        ("n", "", "x" * 65_537, "text"),
    ):
        with pytest.raises(InvalidValue) as caught:
            await prompts.create(OTHER, name, description, text, [])
        assert caught.value.param == param


async def test_versions_of_a_tenant_have_limited_bytes(
    prompts: Prompts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    monkeypatch.setattr(register, "MAX_BYTES", 3000)
    first, second = await made(prompts, "a"), await made(prompts, "b")
    await prompts.add_version(ANN, first, "\u00e9" * 400, [])
    with pytest.raises(Conflict, match="1000 bytes"):
        await prompts.add_version(ANN, second, "x" * 200, [])
    assert (await prompts.get(ANN, second)).version == 1
    theirs = await made(prompts, who=OTHER)
    await prompts.add_version(OTHER, theirs, "x" * 900, [])
    await prompts.delete(ANN, first)
    await prompts.add_version(ANN, second, "x" * 900, [])
    assistants = AssistantRegister(database, 9)
    settings = AssistantSettings(model="m", instructions="\u00e9" * 700)
    own = await assistants.create(ANN, "mine", settings, None)
    with pytest.raises(Conflict, match="3000 bytes"):
        await assistants.add_version(ANN, own.id, settings, activate=True)
    with pytest.raises(Conflict, match="3000 bytes"):
        await assistants.create(BOB, "another", settings, None)
    assert (await assistants.get(ANN, own.id)).version == 1
    await assistants.create(OTHER, "mine", settings, None)
    await assistants.delete(ANN, own.id)
    await assistants.create(BOB, "another", settings, None)


async def test_a_prompt_that_assistants_use_is_not_deleted(prompts: Prompts, database: Database) -> None:
    assistants = AssistantRegister(database, 9)
    id = await made(prompts)
    settings = AssistantSettings(model="m", prompt=PromptReference(id=id, variables={"name": "you"}))
    own = await assistants.create(ANN, "mine", settings, None)
    hidden = await assistants.create(BOB, "hidden", settings, Access())
    with pytest.raises(Conflict) as caught:
        await prompts.delete(ANN, id)
    assert "(mine, 1 that are not named here)" in str(caught.value)
    with pytest.raises(Conflict) as caught:
        await prompts.delete(BOSS, id)
    assert "(hidden, mine)" in str(caught.value)
    await assistants.delete(BOB, hidden.id)
    await assistants.add_version(ANN, own.id, AssistantSettings(model="m"), activate=True)
    await prompts.delete(ANN, id)
    with pytest.raises(NotFound) as missing:
        await assistants.update(ANN, own.id, version=1)
    assert missing.value.param == "version", "its prompt is gone"
    with pytest.raises(NotFound) as missing:
        await assistants.create(ANN, "another", settings, None)
    assert missing.value.param == "prompt.id"
    again = await made(prompts)
    assert again != id
    with pytest.raises(NotFound):
        await assistants.update(ANN, own.id, version=1)
    theirs = await made(prompts, who=OTHER)
    with pytest.raises(NotFound):
        await assistants.create(ANN, "foreign", AssistantSettings(model="m", prompt=PromptReference(id=theirs)), None)
