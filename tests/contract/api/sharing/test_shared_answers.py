"""Whose answers of a share a reader sees: all that was given to a model, and what answered, must be open to them.

Rights count at each reading, and what is taken away opens nothing.
"""

from __future__ import annotations

import pytest

from serving.core.uninterrupted import uninterrupted
from serving.store.relational.tables import assistants
from tests.contract.api.sharing.world import QUOTE, SECRET, World, items, made, seen


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("cites", [False, True], ids=["uncited", "cited"])
def test_an_answer_from_a_document_is_seen_by_its_readers_alone(world: World, stream: bool, cites: bool) -> None:
    file, known = world.file('{"users": ["zoe"]}'), world.file()
    asked = world.finds(known, file, cites=cites)
    id = world.talk("Hello?", stream=stream)
    world.ask(id, stream=stream, **asked)
    world.retrieval.files = []
    world.ask(id, "Say that again.", stream=stream)
    share = world.share(id)
    assert seen(world.bob, share) == ["Hello?", SECRET, "What is new?", "documents", "Say that again.", "documents"]
    told = world.bob.get(f"/v1/shares/{share}/items").text
    assert told.count(SECRET) == 1
    assert QUOTE not in told
    assert file not in told
    for reader in (world.ann, zoe := world.client("acme", "zoe")):
        assert seen(reader, share) == ["Hello?", SECRET, "What is new?", SECRET, "Say that again.", SECRET]
        answer = items(reader, share)[3]
        assert [each["quote"] for each in answer["headrace"]["citations"]] == ([QUOTE] if cites else [])
        assert answer["headrace"].keys() <= {"citations", "unsupported"}
    world.ann.delete(f"/v1/files/{known}")
    assert seen(zoe, share)[3] == "documents", "one document of two is gone"


def test_rights_count_at_each_reading(world: World) -> None:
    file = world.file()
    id = world.talk()
    asked = world.finds(file)
    (store,) = asked["knowledge"]["vector_store_ids"]
    world.ask(id, **asked)
    share = world.share(id)
    for access, told in ((None, SECRET), ({}, "documents"), ({"users": ["bob"]}, SECRET), ({}, "documents")):
        made(world.ann.post(f"/v1/vector_stores/{store}", json={"access": access}))
        assert seen(world.bob, share) == ["What is new?", told]
    assert seen(world.ann, share) == ["What is new?", SECRET]
    made(world.ann.delete(f"/v1/files/{file}"))
    assert seen(world.ann, share) == ["What is new?", "documents"], "nobody reads what is deleted"


@pytest.mark.parametrize("what", ["file", "store"])
def test_taking_away_where_a_document_was_found_opens_nothing(world: World, what: str) -> None:
    file = world.file()
    id = world.talk()
    asked = world.finds(file)
    (store,) = asked["knowledge"]["vector_store_ids"]
    made(world.ann.post(f"/v1/vector_stores/{store}", json={"access": {}}))
    world.ask(id, **asked)
    share = world.share(id)
    assert (seen(world.ann, share)[1], seen(world.bob, share)[1]) == (SECRET, "documents")
    path = f"/v1/vector_stores/{store}"
    made(world.ann.delete(f"{path}/files/{file}" if what == "file" else path))
    assert made(world.bob.get(f"/v1/files/{file}"))["id"] == file, "its own list admits everybody"
    assert (seen(world.ann, share)[1], seen(world.bob, share)[1]) == ("documents", "documents")


@pytest.mark.parametrize("model", ["lawyer", "seeks"])
def test_a_collection_of_the_stack_is_a_source_also_of_the_models_own_searches(world: World, model: str) -> None:
    with world.up.client("/v1") as stack:
        form, content = {"purpose": "assistants"}, {"file": ("m.md", QUOTE.encode())}
        file = str(made(stack.post("/files", data=form, files=content))["id"])
        store = made(stack.post("/vector_stores", json={"name": "law"}))["id"]
        made(stack.post(f"/vector_stores/{store}/files", json={"file_id": file}))
        try:
            world.retrieval.files = [file]
            if model == "seeks":
                world.engine.before = ("Thought: look\nAction: retrieval\nAction Input: merger",)
                world.engine.says = f"Final Answer: {SECRET}"
            share = world.share(world.talk("What is new?", model=model))
            assert seen(world.bob, share) == seen(world.ann, share) == ["What is new?", SECRET]
            made(stack.post(f"/vector_stores/{store}", json={"access": {}}))
            assert seen(world.bob, share) == ["What is new?", "documents"]
        finally:
            made(stack.delete(f"/vector_stores/{store}"))
            made(stack.delete(f"/files/{file}"))


def test_what_the_model_itself_searched_and_did_not_cite_is_a_source(world: World) -> None:
    closed = world.finds(world.file("{}"))
    world.engine.before = ("Thought: look\nAction: retrieval\nAction Input: merger",)
    world.engine.says = f"Final Answer: {SECRET}"
    share = world.share(world.talk("What is new?", model="seeks", **closed))
    assert (seen(world.ann, share)[1], seen(world.bob, share)[1]) == (SECRET, "documents")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("model", "open"), [("m", True), ("anns-model", False), ("anns-alias", False), ("either", False), ("inside", True)]
)
def test_a_model_is_a_source_for_those_who_may_call_it(world: World, model: str, open: bool, stream: bool) -> None:
    share = world.share(world.talk("Hi", model=model, stream=stream))
    assert seen(world.ann, share)[1] == SECRET
    assert seen(world.bob, share)[1] == (SECRET if open else "documents")


def test_a_configured_assistant_whose_name_looks_like_an_id_is_open(world: World) -> None:
    assert seen(world.bob, world.share(world.talk("Hi", model="asst_help")))[1] == SECRET


def test_answers_in_the_format_of_responses_have_sources_too(world: World) -> None:
    file = world.file("{}")
    asked = world.finds(file)["knowledge"]["vector_store_ids"]
    id = world.talk()
    tools = [{"type": "file_search", "vector_store_ids": asked}]
    for more in ({}, {"tools": tools}, {}):
        made(world.ann.post("/v1/responses", json={"model": "m", "input": "New?", "conversation": id, **more}))
    share = world.share(id)
    assert seen(world.bob, share) == ["New?", SECRET, "New?", "documents", "New?", "documents"]
    assert "documents" not in seen(world.ann, share)


def test_deleting_the_answer_with_the_source_does_not_reveal_later_ones(world: World) -> None:
    id = world.talk()
    world.ask(id, **world.finds(world.file("{}")))
    world.retrieval.files = []
    world.ask(id, "Again.")
    listed = made(world.ann.get(f"/v1/conversations/{id}/items", params={"order": "asc"}))["data"]
    made(world.ann.delete(f"/v1/conversations/{id}/items/{listed[1]['id']}"))
    assert seen(world.bob, world.share(id)) == ["What is new?", "Again.", "documents"]
    fork = made(world.ann.post(f"/v1/conversations/{id}/fork", json={"after": listed[3]["id"]}))["id"]
    assert seen(world.bob, world.share(fork)) == ["What is new?", "Again.", "documents"]


def test_a_fork_has_the_sources_of_its_original(world: World) -> None:
    id = world.talk()
    world.ask(id, **world.finds(world.file("{}")))
    last = made(world.ann.get(f"/v1/conversations/{id}/items"))["data"][0]["id"]
    fork = made(world.ann.post(f"/v1/conversations/{id}/fork", json={"after": last}))["id"]
    assert seen(world.bob, world.share(fork)) == ["What is new?", "documents"]


def test_sources_are_no_part_of_what_the_owner_is_told(world: World) -> None:
    file = world.file("{}")
    id = world.talk()
    world.ask(id, **world.finds(file))
    told = world.ann.get(f"/v1/conversations/{id}/items", params={"include": "headrace"})
    assert '"retrieved":1' in told.text
    assert file not in told.text


@pytest.mark.parametrize("model", ["facts", "clerk", "counts", "open", "anns"])
def test_an_assistant_is_a_source_and_so_is_what_it_does(world: World, model: str) -> None:
    memory = {"assistant": "facts", "text": "Ann earns 7 million."}
    made(world.ann.post("/v1/memories", json=memory))
    world.engine.says = "Final answer: Ann earns 7 million." if model in ("clerk", "counts") else "Ann earns 7 million."
    share = world.share(world.talk("How much?", model=model))
    told = "million" in seen(world.bob, share)[1]
    assert told is (model in ("counts", "open")), (
        "tools and memories are told to nobody, nor answers of others' assistants"
    )
    assert ("million" in seen(world.ann, share)[1]) is (model in ("counts", "open", "anns"))
    read = world.bob.get(f"/v1/shares/{share}/items").text
    assert "steps" not in read
    assert "usage" not in read


def test_an_own_assistant_is_open_to_those_who_may_call_it(world: World) -> None:
    asked = {"name": "plans", "model": "m", "instructions": "Never tell.", "access": {}}
    assistant = made(world.ann.post("/v1/assistants", json=asked))["id"]
    share = world.share(world.talk("Hi", model="plans"))
    assert (seen(world.ann, share)[1], seen(world.bob, share)[1]) == (SECRET, "documents")
    made(world.ann.post(f"/v1/assistants/{assistant}", json={"access": None}))
    assert seen(world.bob, share)[1] == SECRET
    made(world.ann.delete(f"/v1/assistants/{assistant}"))
    decoy = made(world.bob.post("/v1/assistants", json={"name": "plans", "model": "m"}))["id"]
    assert seen(world.bob, share)[1] == "documents", "another of the same name is another"
    refused = world.bob.post("/v1/assistants", json={"name": assistant, "model": "m"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "name")

    @uninterrupted
    async def rename() -> None:  # as an earlier version let it be named
        async with world.up.services.database.write() as connection:
            await connection.execute(assistants.update().where(assistants.c.id == decoy).values(name=assistant))

    world.up.loop.do(rename())
    assert made(world.bob.get(f"/v1/models/{assistant}"))["id"] == assistant, "it is called by this name"
    assert seen(world.bob, share)[1] == "documents", "an id is no name"
    made(world.bob.delete(f"/v1/assistants/{decoy}"))


def test_an_own_assistant_is_closed_with_its_model(world: World) -> None:
    assistant = made(world.ann.post("/v1/assistants", json={"name": "on-hidden", "model": "anns-model"}))["id"]
    share = world.share(world.talk("Hi", model="on-hidden"))
    assert (seen(world.ann, share)[1], seen(world.bob, share)[1]) == (SECRET, "documents")
    made(world.ann.post(f"/v1/assistants/{assistant}/versions", json={"model": "m"}))
    assert seen(world.bob, share)[1] == "documents", "another model answered"
    made(world.ann.delete(f"/v1/assistants/{assistant}"))


@pytest.mark.parametrize("role", ["system", "developer"])
def test_an_answer_to_instructions_of_a_request_is_withheld(world: World, role: str) -> None:
    id = world.talk()
    world.ask(id, [{"role": role, "content": SECRET}, {"role": "user", "content": "Hi"}])
    assert seen(world.bob, world.share(id)) == ["Hi", "documents"]


def test_an_answer_of_which_only_a_part_is_there_has_sources(world: World) -> None:
    """What a stream that broke off had said is stored with them."""
    id = world.talk()
    world.engine.says = f"{SECRET} " * 3
    asked = {"model": "m", "messages": [{"role": "user", "content": "New?"}], "conversation": id, "stream": True}
    asked |= world.finds(world.file("{}"))
    world.up.loop.loop.call_soon_threadsafe(world.engine.going_on.clear)
    try:
        with world.ann.stream("POST", "/v1/chat/completions", json=asked, headers={"headrace-resumable": "true"}) as s:
            stream = s.headers["headrace-stream"]
            lines = s.iter_lines()
            next(lines)
            assert world.ann.post(f"/v1/streams/{stream}/stop").status_code == 200
    finally:
        world.up.loop.loop.call_soon_threadsafe(world.engine.going_on.set)
    listed = made(world.ann.get(f"/v1/conversations/{id}/items"))["data"]
    assert listed[0]["status"] == "incomplete"
    share = world.share(id)
    assert seen(world.bob, share) == ["New?", "documents"]
    assert SECRET in seen(world.ann, share)[1]
    assert items(world.ann, share)[1]["status"] == "incomplete"
