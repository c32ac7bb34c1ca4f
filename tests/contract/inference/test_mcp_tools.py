"""Tools of an MCP server through the API: a real server of each kind, and approvals."""

from __future__ import annotations

import contextlib

import pytest

from serving.config import Assistant, Catalog, McpTool, React, RemoteModel
from tests.contract.inference.test_tools import FINAL, Model, act
from tests.contract.running import Loop, engine, gateway
from tests.servers.mcp_process import Process


class World:
    def __init__(self, model, http, process, up, catalog):
        self.model, self.http, self.process, self.up, self.catalog = model, http, process, up, catalog

    def answer(self, *says, model="clerk", **more):
        self.model.says, self.model.asked = list(says), []
        body = {"model": model, "messages": [{"role": "user", "content": "What is 1 + 2?"}], **more}
        response = self.http.post("/v1/chat/completions", json=body)
        assert response.status_code == 200, response.text
        return response.json()["choices"][0]["message"]


def steps(message):
    return [(step["kind"], step["text"]) for step in message["headrace"]["steps"]]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    loop, model, process = Loop(), Model(), Process()
    with contextlib.ExitStack() as ending:
        ending.callback(loop.stop)
        ending.callback(process.close)
        port = ending.enter_context(engine(loop, model.app()))
        server = McpTool(name="t", url=process.url, private=True, timeout_s=20, read_only=("add",))
        gone = McpTool(name="gone", description="Weather.", url="http://127.0.0.1:9/mcp", private=True)
        catalog = Catalog(
            models=(RemoteModel(name="bare", url=f"http://127.0.0.1:{port}/v1"),),
            assistants=(
                Assistant(name="clerk", model="bare", tools=("t", "calculator"), strategy=React(tool_seconds=30)),
                Assistant(name="caller", model="bare", tools=("t",), strategy=React(protocol="tools")),
                Assistant(name="unlucky", model="bare", tools=("gone", "calculator"), strategy=React(tool_seconds=60)),
            ),
            tools=(server, gone),
        )
        with gateway(loop, tmp_path_factory.mktemp("mcp"), catalog) as up, up.client() as http:
            yield World(model, http, process, up, catalog)


def test_a_tool_is_called_in_text(world):
    message = world.answer(act("t_add", a=1, b=2), FINAL)
    assert message["content"] == "done"
    assert steps(message) == [("thought", "so"), ("action", '{"a": 1, "b": 2}'), ("observation", "3")]
    prompt = world.model.asked[0]["messages"][-1]["content"]
    assert "t_add (Action Input: JSON with a, b): Adds two[31m numbers. Ignore me." in prompt
    assert "calculator (" in prompt


def test_a_tool_is_called_by_an_engine_that_can(world):
    call = {"id": "x", "type": "function", "function": {"name": "t_add", "arguments": '{"a": 1, "b": 2}'}}
    message = world.answer({"content": None, "tool_calls": [call]}, "It is 3.", model="caller")
    assert message["content"] == "It is 3."
    shown = {tool["function"]["name"]: tool["function"] for tool in world.model.asked[0]["tools"]}
    assert shown["t_add"]["parameters"]["properties"]["a"] == {"type": "integer"}


def test_tools_without_trusted_hints_need_approval(world):
    # Before any tool was called: the server's descriptions alone could have talked the model into it.
    before = steps(world.answer(act("t_add", a=1), FINAL))
    message = world.answer(act("t_lies"))
    assert "approval" in [kind for kind, _ in steps(message)]
    (offer,) = message["headrace"]["approvals"]
    assert offer["tool"] == "t_lies"
    message = world.answer(act("t_lies"), FINAL, approvals=[offer["id"]])
    assert ("observation", "done") in steps(message)
    assert before[-1] == ("observation", "1")


def test_invalid_arguments_are_reported_to_the_model(world):
    message = world.answer(act("t_add", a="one"), act("t_add", a=1), FINAL)
    assert [text for kind, text in steps(message) if kind == "observation"] == [
        "Error: the arguments are wrong: $.a: 'one' is not of type 'integer'.",
        "1",
    ]


def test_an_unavailable_mcp_server_does_not_fail_the_answer(world):
    message = world.answer(act("gone"), act("calculator", expression="6 * 7"), FINAL, model="unlucky")
    first, second = [text for kind, text in steps(message) if kind == "observation"]
    assert first.startswith("Error: gone cannot be reached: ")
    assert second == "42"
    assert (
        "gone (Action Input: nothing): Weather. (cannot be used now)" in world.model.asked[0]["messages"][-1]["content"]
    )


def test_a_new_catalogue_leaves_servers_that_it_does_not_name(world):
    services = world.up.services
    world.answer(act("t_add", a=1), FINAL)

    async def configure(catalog):
        services.configure(catalog)

    assert services.mcp._servers
    world.up.loop.do(configure(Catalog(models=world.catalog.models)))
    assert not services.mcp._servers
    world.up.loop.do(configure(world.catalog))
    assert ("observation", "1") in steps(world.answer(act("t_add", a=1), FINAL))


def test_ambiguous_tool_names_are_rejected():
    servers = [{"kind": "mcp", "name": name, "url": "https://tools.example.com/mcp"} for name in ("a", "a_b")]
    with pytest.raises(ValueError, match="'a_b' could be a tool of the MCP server 'a'"):
        Catalog.model_validate({"tools": servers})
