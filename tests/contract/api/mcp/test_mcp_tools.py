"""Tools of the Model Context Protocol: what each does is what its route does, for the caller of the request."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest

from serving.api.mcp import resources
from tests.contract.api.mcp.speaking import MODES, called, connected, listed, message, refused, tool
from tests.contract.running import hang_up, request_lines
from tests.wait import eventually

modes = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(scope="module")
def store(world):
    """A vector store of the gateway's first key."""
    return world.http.post("/v1/vector_stores", json={"name": "sea"}).json()["id"]


@modes
def test_a_store_is_found_and_searched(world, store, mode):
    stores = called(world.up, "list_vector_stores", {"name": "sea"}, mode=mode).structured_content["data"]
    assert [each["id"] for each in stores] == [store]
    found = called(world.up, "search", {"vector_store_id": store, "query": "How deep is the sea?"}, mode=mode)
    answer = world.http.post(f"/v1/vector_stores/{store}/search", json={"query": "How deep is the sea?"})
    assert found.structured_content == answer.json()
    assert found.content[0].text == answer.text
    assert found.structured_content["data"][0]["content"] == [{"type": "text", "text": "The sea is deep."}]


def test_the_arguments_of_a_search_reach_it(world, store, monkeypatch):
    seen = []

    async def search(*given):
        seen.append(given)
        return []

    monkeypatch.setattr(world.up.services.retrieval, "search", search)
    given = {"vector_store_id": store, "query": "sea", "max_num_results": 3}
    assert called(world.up, "search", given).structured_content["data"] == []
    assert seen[0][1:4] == (store, "sea", 3)


@modes
def test_an_assistant_answers_and_names_its_sources(world, mode):
    told = called(world.up, "ask", {"model": "reads", "question": "How deep is the sea?"}, mode=mode)
    found = told.structured_content
    assert found["answer"].startswith('echo "')
    assert found["sources"] == [{"file_id": "file-1", "title": "Sea"}]
    (cited,) = (each["url_citation"] for each in found["annotations"])
    assert cited["url"] == f"{world.up.url}/v1/files/file-1/content"
    assert told.content[0].text == f"{found['answer']}\n\nSources:\n- Sea (file file-1)"


def test_an_answer_is_a_chat_that_is_captured_and_counted(world):
    key = world.key("bea")
    told = called(world.up, "ask", {"model": "echo", "question": "hi", "max_tokens": 9}, key=key).structured_content
    assert world.engine.asked[-1]["messages"] == [{"role": "user", "content": "hi"}]
    assert world.engine.asked[-1]["max_tokens"] == 9
    (day,) = eventually(
        lambda: world.http.get("/v1/usage", headers=world.as_caller(key)).json()["data"], "the answer is counted"
    )
    assert (day["requests"], day["prompt_tokens"], day["completion_tokens"]) == (1, 7, 3)
    rating = {"target": {"type": "response", "id": told["id"]}, "thumb": "up"}
    world.http.post("/v1/feedback", json=rating, headers=world.as_caller(key)).raise_for_status()


def test_an_answer_is_made_from_named_stores(world, store):
    asked = {"model": "echo", "question": "How deep is the sea?", "vector_store_ids": [store]}
    assert called(world.up, "ask", asked).structured_content["sources"]
    wrong = refused(called(world.up, "ask", asked | {"vector_store_ids": ["vs_none"]}))
    assert wrong == "There is no such vector store. (not_found, argument vector_store_ids)"


def test_models_are_those_that_can_be_asked(world):
    found = called(world.up, "list_models").structured_content["data"]
    assert [each["id"] for each in found] == ["reads", "friend", "echo"]
    assert "embed" in {each["headrace"]["task"] for each in world.http.get("/v1/models").json()["data"]}


@modes
def test_tools_are_described(world, mode):
    tools = listed(world.up, mode=mode)
    search, asks = tools["search"], tools["ask"]
    assert set(search.input_schema["required"]) == {"vector_store_id", "query"}
    assert search.input_schema["additionalProperties"] is False
    assert search.input_schema["properties"]["max_num_results"]["maximum"] == 50
    assert (search.annotations.read_only_hint, search.annotations.open_world_hint) == (True, False)
    assert (asks.annotations.read_only_hint, asks.annotations.destructive_hint) == (False, True)
    reading = {name for name, each in tools.items() if each.annotations.read_only_hint}
    assert reading == set(tools) - {"ask", "add_memory", "update_memory", "delete_memory"}
    destroying = {name for name, each in tools.items() if each.annotations.destructive_hint}
    assert destroying == {"ask", "update_memory", "delete_memory"}
    assert all(tool.title and tool.description and tool.output_schema for tool in tools.values())


def test_tools_are_those_that_the_key_permits(world):
    reads, asks, nothing = (world.key("cid", scopes=scopes) for scopes in (["data:read"], ["inference"], []))
    reading = {"search", "list_models", "list_vector_stores", "list_files", "read_file", "list_memories"}
    assert set(listed(world.up, reads)) == reading
    assert set(listed(world.up, asks)) == {"ask", "list_models"}
    assert set(listed(world.up, nothing)) == {"list_models"}
    told = refused(called(world.up, "ask", {"model": "echo", "question": "hi"}, key=reads))
    assert told == "This route requires a key with the scope inference. (insufficient_scope)"


def test_another_tenants_store_is_like_none(world, store):
    stranger = world.key("eve", "other")
    assert called(world.up, "list_vector_stores", key=stranger).structured_content["data"] == []
    told = [
        refused(called(world.up, "search", {"vector_store_id": id, "query": "sea"}, key=stranger))
        for id in (store, "vs_none")
    ]
    assert told == ["There is no such vector store. (not_found)"] * 2


def test_memories_are_added_listed_changed_and_deleted(world):
    key = world.key("dan")
    added = called(world.up, "add_memory", {"assistant": "friend", "text": "Likes herons."}, key=key).structured_content
    assert (added["assistant"], added["text"], added["made_by"]) == ("friend", "Likes herons.", "user")
    id = added["id"]
    changed = called(world.up, "update_memory", {"memory_id": id, "text": "Likes storks."}, key=key)
    assert changed.structured_content["text"] == "Likes storks."
    kept = called(world.up, "list_memories", {"assistant": "friend"}, key=key).structured_content["data"]
    assert [(each["id"], each["text"]) for each in kept] == [(id, "Likes storks.")]
    assert called(world.up, "list_memories", {"assistant": "reads"}, key=key).structured_content["data"] == []
    for stranger in (world.key("eve", "other"), world.key("bob")):
        for name, more in (("update_memory", {"text": "Is foolish."}), ("delete_memory", {})):
            told = refused(called(world.up, name, {"memory_id": id, **more}, key=stranger))
            assert told == "There is no such memory. (not_found)"
        assert called(world.up, "list_memories", key=stranger).structured_content["data"] == []
    assert called(world.up, "delete_memory", {"memory_id": id}, key=key).structured_content["deleted"]
    assert called(world.up, "list_memories", key=key).structured_content["data"] == []
    own = {"authorization": f"Bearer {key}"}
    receipt = httpx.get(f"{world.up.url}/v1/me/deletions/{id}", headers=own, timeout=60).json()
    assert (receipt["kind"], receipt["status"]) == ("memory", "finished")


def test_a_statement_is_for_an_assistant_that_remembers(world):
    told = refused(called(world.up, "add_memory", {"assistant": "reads", "text": "Likes herons."}))
    assert "whose memory is of kind facts" in told
    assert told.endswith("(invalid_value, argument assistant)")


@pytest.fixture(scope="module")
def file(world):
    """A file of the gateway's first key, of 60,000 characters."""
    form, text = {"purpose": "assistants"}, "".join(f"{n:09}\n" for n in range(6_000))
    answer = world.http.post("/v1/files", data=form, files={"file": ("numbers.txt", text.encode())})
    return answer.raise_for_status().json()["id"]


def test_a_file_is_listed_and_read_in_parts(world, file):
    found = called(world.up, "list_files", {"limit": 1}).structured_content["data"]
    assert [(each["id"], each["filename"]) for each in found] == [(file, "numbers.txt")]
    first = called(world.up, "read_file", {"file_id": file}).structured_content
    assert (first["start"], first["end"], first["text"][:9]) == (0, 20_000, "000000000")
    then = called(world.up, "read_file", {"file_id": file, "start": 20_000, "end": 40_000}).structured_content
    assert (then["start"], then["end"], then["text"][:9]) == (20_000, 40_000, "000002000")
    stranger = world.key("eve", "other")
    assert called(world.up, "list_files", key=stranger).structured_content["data"] == []
    told = [refused(called(world.up, "read_file", {"file_id": id}, key=stranger)) for id in (file, "file_none")]
    assert told == ["There is no such file. (not_found)"] * 2


@modes
async def test_files_are_resources(world, file, mode):
    async with connected(world.up.url, world.up.key, mode) as client:
        (found,) = [each for each in (await client.list_resources()).resources if each.name == "numbers.txt"]
        assert found.uri == f"headrace://files/{file}"
        (template,) = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "headrace://files/{file_id}{?start,end}"
        (first,) = (await client.read_resource(found.uri)).contents
        (then,) = (await client.read_resource(f"{found.uri}?start=20000&end=40000")).contents
    assert (len(first.text), first.text[:9], first.meta["headrace/length"]) == (20_000, "000000000", 59_999)
    assert (then.text[:9], then.meta["headrace/start"], then.meta["headrace/end"]) == ("000002000", 20_000, 40_000)


async def test_resources_are_read_page_by_page(world, monkeypatch):
    monkeypatch.setattr(resources, "PAGE", 2)
    key = world.key("pam")
    headers, form = world.as_caller(key), {"purpose": "assistants"}
    for n in range(3):
        files = {"file": (f"{n}.md", b"# Heron\n")}
        world.http.post("/v1/files", data=form, files=files, headers=headers).raise_for_status()
    async with connected(world.up.url, key) as client:
        first = await client.list_resources()
        then = await client.list_resources(cursor=first.next_cursor)
    assert [each.name for each in (*first.resources, *then.resources)] == ["2.md", "1.md", "0.md"]
    assert (len(first.resources), then.next_cursor) == (2, None)


def test_foreign_and_wrong_resources_are_refused(world, file):
    stranger = world.as_caller(world.key("eve", "other"))
    asks = world.as_caller(world.key("cid", scopes=["inference"]))

    def told(uri, headers):
        return world.http.post("/mcp", json=message("resources/read", {"uri": uri}), headers=headers).json()["error"]

    none = told("headrace://files/file_none", stranger)
    assert none == {"code": -32602, "message": "There is no such file.", "data": none["data"]}
    assert told(f"headrace://files/{file}", stranger) == none
    assert told(f"headrace://files/{file}", asks)["data"]["code"] == "insufficient_scope"
    assert world.http.post("/mcp", json=message("resources/list"), headers=asks).json()["result"]["resources"] == []
    for uri in (
        "file:///etc/passwd",
        "",
        "headrace://files/",
        f"headrace://files/{file}?start=-1",
        f"headrace://files/{file}?x=1",
    ):
        wrong = told(uri, stranger)
        assert (wrong["code"], wrong["data"]["type"]) == (-32602, "invalid_request_error")


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("ask", {"model": "none", "question": "hi"}, "There is no model `none` that you may call. (model_not_found, "),
        ("ask", {"model": "echo", "question": ""}, "argument question)"),
        ("ask", {"model": "echo", "question": 1}, "Input should be a valid string (invalid_value, argument question)"),
        ("ask", {"model": "echo"}, "Field required (invalid_value, argument question)"),
        ("ask", {"model": "echo", "question": "hi", "stream": True}, "There is no field `stream` here."),
        ("search", {"vector_store_id": "vs_1", "query": "a", "max_num_results": 51}, "argument max_num_results)"),
        ("search", {"vector_store_id": ["vs_1"], "query": "a"}, "argument vector_store_id)"),
        ("search", {"vector_store_id": "../vs_1%00\u0000", "query": "a"}, "There is no such vector store."),
        ("read_file", {"file_id": "file_1", "start": -1}, "argument start)"),
        ("add_memory", {"assistant": "friend", "text": ""}, "argument text)"),
        ("delete_memory", {"memory_id": ""}, "argument memory_id)"),
        ("list_vector_stores", {"limit": 0}, "argument limit)"),
        ("list_vector_stores", {"after": "\u0000"}, "argument after)"),
    ],
)
def test_wrong_arguments_are_explained_to_the_model(world, name, arguments, told):
    assert told in refused(called(world.up, name, arguments))


def test_a_quota_is_that_of_the_route(world):
    quota = {"subject": "model", "id": "vector_store.search", "window": "day", "measure": "requests", "limit": 1}
    made = world.http.put("/v1/admin/quotas", json={"quotas": [quota]}).json()["data"][0]["quota_id"]
    id = world.http.post("/v1/vector_stores", json={"name": "quota"}).json()["id"]
    try:
        first, second = (called(world.up, "search", {"vector_store_id": id, "query": "sea"}) for _ in range(2))
    finally:
        world.http.delete("/v1/admin/quotas", params={"quota_id": made}).raise_for_status()
    assert not first.is_error
    assert re.search(r"\(insufficient_quota, try again after \d+ s\)$", refused(second))


def test_a_failure_of_the_engine_is_told(world):
    world.engine.fails = True
    try:
        told = refused(called(world.up, "ask", {"model": "echo", "question": "hi"}))
    finally:
        world.engine.fails = False
    assert "(engine_error" in told


def test_an_answer_that_nobody_waits_for_is_not_generated(world):
    world.engine.holds.clear()
    before = len(world.engine.asked)
    try:
        asked = tool("ask", model="echo", question="hold on")
        hang_up(world.http, asked, lambda: len(world.engine.asked) > before, "/mcp")
        eventually(lambda: world.engine.left, "the engine's request is cancelled")
    finally:
        world.engine.holds.set()


async def test_calls_of_one_client_do_not_wait_for_each_other(world):
    """There is no session whose messages come one after another."""
    async with connected(world.up.url, world.up.key) as client:
        found = await asyncio.gather(
            *(client.call_tool("ask", {"model": "echo", "question": f"q{n}"}) for n in range(8))
        )
    assert [each.structured_content["answer"] for each in found] == [f'echo "q{n}" and more' for n in range(8)]


def test_the_log_says_how_a_call_ended(world, caplog):
    caplog.set_level("INFO", "headrace.requests")

    def logged(body, id):
        """Returns the line of a request, which is written after its answer."""
        assert world.post(body, x_request_id=id).status_code == 200
        (line,) = eventually(
            lambda: [each for each in request_lines(caplog) if each.fields["request_id"] == id], "the request is logged"
        )
        return line.fields

    wrong, right = logged(tool("ask", model="none", question="hi"), "wrong"), logged(message(), "right")
    assert (wrong["route"], wrong["outcome"], wrong["code"]) == ("/mcp", "refused", "model_not_found")
    assert (right["route"], right["outcome"], right["code"]) == ("/mcp", "ok", None)
