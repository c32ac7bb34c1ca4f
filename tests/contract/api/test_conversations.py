"""`/v1/conversations` as OpenAI's own client drives it, against a real server and store."""

from __future__ import annotations

import json

import httpx
import openai
import pytest

from serving.config import Catalog, Limits
from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.running import Loop, gateway

IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    with (
        Loop() as loop,
        gateway(loop, tmp_path_factory.mktemp("gateway"), Catalog(), limits=Limits(characters=2000)) as up,
    ):
        yield up


@pytest.fixture(scope="module")
def sdk(up):
    with up.sdk() as client:
        yield client


@pytest.fixture(scope="module")
def http(up):
    with up.client() as client:
        yield client


def test_every_route_with_the_client(sdk):
    made = sdk.conversations.create(metadata={"topic": "demo"}, items=[{"role": "user", "content": "Hello"}])
    assert made.id.startswith("conv_")
    assert (made.object, made.metadata) == ("conversation", {"topic": "demo"})
    assert sdk.conversations.retrieve(made.id) == made
    assert sdk.conversations.update(made.id, metadata={"a": "b"}).metadata == {"a": "b"}
    added = sdk.conversations.items.create(
        made.id,
        items=[
            {"type": "message", "role": "assistant", "content": "Hi!"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "See"}, IMAGE]},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "a cat"},
            {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        ],
    )
    assert [item.type for item in added.data] == [
        "message",
        "message",
        "function_call",
        "function_call_output",
        "message",
    ]
    assert (added.first_id, added.last_id, added.has_more) == (added.data[0].id, added.data[-1].id, False)
    listed = list(sdk.conversations.items.list(made.id, order="asc", limit=2))  # the client follows the pages
    first, *rest = listed
    assert rest == added.data
    assert (first.role, first.status) == ("user", "completed")
    assert (first.content[0].type, first.content[0].text) == ("input_text", "Hello")
    assert (rest[0].content[0].type, rest[0].content[0].annotations) == ("output_text", [])
    assert rest[1].content[1].model_dump(exclude_none=True) == IMAGE
    assert (rest[2].name, rest[3].output, rest[4].content[0].refusal) == ("look", "a cat", "No.")
    assert next(iter(sdk.conversations.items.list(made.id))) == rest[-1]
    assert sdk.conversations.items.retrieve(first.id, conversation_id=made.id) == first
    assert sdk.conversations.items.delete(first.id, conversation_id=made.id).id == made.id
    with pytest.raises(openai.NotFoundError):
        sdk.conversations.items.retrieve(first.id, conversation_id=made.id)
    assert sdk.conversations.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.conversations.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        sdk.conversations.items.list(made.id)


def test_a_new_conversation_has_no_items(sdk):
    made = sdk.conversations.create()
    assert made.metadata == {}
    assert list(sdk.conversations.items.list(made.id)) == []


SAYS = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"items": [SAYS] * 21}, "items"),
        ({"items": [{"role": "wizard", "content": "x"}]}, "items[0].role"),
        ({"items": [{"role": "user"}]}, "items[0].content"),
        ({"items": [SAYS, {"role": "user", "content": [{"type": "video"}]}]}, "items[1].content[0]"),
        ({"items": [{"role": "user", "content": [{"type": "input_text", "text": 1}]}]}, "items[0].content[0].text"),
        ({"items": [{"type": "reasoning", "summary": []}]}, "items[0]"),
        ({"items": [{"type": 5}]}, "items[0]"),
        ({"items": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "items[0].arguments"),
        ({"items": [{"role": "user", "content": "x" * 2001}]}, "items"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: "x"}}, "metadata"),
        ({"metadata": {"k": "x" * 513}}, "metadata"),
        ({"metadata": {"k": 1}}, "metadata"),
    ],
)
def test_a_wrong_body_is_a_400_and_stores_nothing(http, up, body, param):
    made = http.post("/v1/conversations", json={}).json()["id"]
    paths = ["/v1/conversations", f"/v1/conversations/{made}" + ("/items" if "items" in body else "")]
    for path in paths:
        response = http.post(path, json=body)
        assert response.status_code == 400, response.text
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["param"] == param
    assert http.get(f"/v1/conversations/{made}/items").json()["data"] == []
    assert http.get(f"/v1/conversations/{made}").json()["metadata"] == {}


LONG = ((f"include={'x' * 65}", "include"), ("&".join(["include[]=x"] * 17), "include"))


def test_lists_refuse_wrong_pages(http):
    made = http.post("/v1/conversations", json={"items": [SAYS]}).json()["id"]
    for query, param in (
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("order=up", "order"),
        ("after=msg_0", "after"),
        *LONG,
    ):
        error = http.get(f"/v1/conversations/{made}/items?{query}").json()["error"]
        assert error["param"] == param
    assert http.post(f"/v1/conversations/{made}", json={}).json()["error"]["param"] == "metadata"
    assert http.post(f"/v1/conversations/{made}/items", json={"items": []}).json()["error"]["param"] == "items"


def test_another_tenants_conversation_is_a_404(http, up):
    async def theirs():
        mallory = Principal(tenant="evil", user="mallory", key_id="key_m")
        made = await up.services.conversations.create(mallory, items=[{"type": "message", **SAYS}])
        [item] = await up.services.conversations.last(mallory, made.id)
        return made.id, item.id

    id, item = up.loop.do(theirs())
    for method, path, body in (
        ("GET", id, None),
        ("POST", id, {"metadata": {}}),
        ("DELETE", id, None),
        ("GET", f"{id}/items", None),
        ("POST", f"{id}/items", {"items": [SAYS]}),
        ("GET", f"{id}/items/{item}", None),
        ("DELETE", f"{id}/items/{item}", None),
    ):
        response = http.request(method, f"/v1/conversations/{path}", json=body)
        assert response.status_code == 404, (method, path)
        assert id not in json.dumps(response.json())


def test_a_list_with_titles_pins_and_forks(up):
    own = up.loop.do(key_of(up.services, Principal("acme", "lister", "")))
    with httpx.Client(base_url=up.url, headers={"authorization": f"Bearer {own}"}, trust_env=False) as http:

        def said(method, path, **given):
            return http.request(method, path, **given).raise_for_status().json()

        items = [{"role": "user", "content": "Where is the ferry?"}, {"role": "assistant", "content": "In Orrin."}]
        made = said("POST", "/v1/conversations", json={"items": items, "metadata": {"a": "b"}})
        later = said("POST", "/v1/conversations", json={})
        listed = said("GET", "/v1/conversations")
        assert [c["id"] for c in listed["data"]] == [later["id"], made["id"]]
        assert listed["data"][1]["headrace"] == {
            "title": "Where is the ferry?",
            "pinned": False,
            "archived": False,
            "last_active_at": made["created_at"],
            "items": 2,
            "model": None,
            "forked_from": None,
        }
        change = {"title": "Ferries", "pinned": True}
        changed = said("POST", f"/v1/conversations/{made['id']}", json={"headrace": change})
        assert (changed["headrace"] | change, changed["metadata"]) == (changed["headrace"], {"a": "b"})
        for query, found in ((("pinned", "true"), [made]), (("q", "FERR"), [made]), (("pinned", "false"), [later])):
            ids = [c["id"] for c in said("GET", "/v1/conversations", params=dict([query]))["data"]]
            assert ids == [c["id"] for c in found], query
        [_, question] = said("GET", f"/v1/conversations/{made['id']}/items")["data"]
        fork = said("POST", f"/v1/conversations/{made['id']}/fork", json={"after": question["id"]})
        assert (fork["headrace"]["items"], fork["headrace"]["forked_from"]) == (1, made["id"])
        branches = said("GET", f"/v1/conversations/{fork['id']}/branches")["data"]
        assert [(b["id"], b["forked_from"], b["shared"]) for b in branches] == [
            (made["id"], None, 0),
            (fork["id"], made["id"], 1),
        ]
        numbers = said("GET", f"/v1/conversations/{fork['id']}/items", params={"include": "headrace"})["data"]
        assert [item["headrace"]["number"] for item in numbers] == [1]
        before = said("POST", f"/v1/conversations/{made['id']}/fork", json={"before": question["id"]})
        assert before["headrace"]["items"] == 0
        said("DELETE", f"/v1/conversations/{before['id']}")
        for path, body, param in (
            ("", {"headrace": {"title": "x" * 257}}, "headrace.title"),
            ("/fork", {"after": "msg_none"}, "after"),
            ("/fork", {"before": "msg_none"}, "before"),
            ("/fork", {}, None),
            ("/fork", {"after": question["id"], "before": question["id"]}, None),
        ):
            answer = http.post(f"/v1/conversations/{made['id']}{path}", json=body)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
        assert http.get("/v1/conversations", params={"pinned": "maybe"}).status_code == 400
        gone = said("DELETE", "/v1/conversations")
        assert (gone["object"], gone["deleted"]) == ("conversations.deleted", 3)
        assert said("GET", "/v1/conversations")["data"] == []
