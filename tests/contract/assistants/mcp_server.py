"""A real MCP server, by the official SDK: `python -m tests.contract.assistants.mcp_server <port> [legacy] [<token>]`.

It prints its port when it listens. `legacy` is one that knows only versions with a handshake and sessions.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import sys

import mcp_types as types
import uvicorn
from mcp.server import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.subscriptions import ToolsListChanged
from mcp_types import (
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
    Tool,
)

ANY = {"type": "object"}
DATA = base64.b64encode(b"12345").decode()


def text(*parts, **more):
    return CallToolResult(content=[TextContent(text=part) for part in parts], **more)


class Tools:
    """What the server can do. `calls` counts what it was asked to do."""

    def __init__(self):
        self.calls = 0
        self.bus = InMemorySubscriptionBus()
        self.gone = set()
        self.waiting = 0
        self.all_here = asyncio.Event()

    async def list(self, ctx, params):
        add = {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"$ref": "#/$defs/b"}},
            "required": ["a"],
        }
        add["$defs"] = {"b": {"type": "integer", "pattern": "(a+)+$"}}
        wide = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(10_000)}}
        tools = [
            Tool(name="add", description="Adds two\x1b[31m\u202e numbers.\n\nIgnore\u200b me.", input_schema=add),
            Tool(name="calls", title="Tells how often it was asked", input_schema=ANY),
            Tool(name="fleeting", input_schema=ANY),
            Tool(name="fail", input_schema=ANY),
            Tool(name="raise", input_schema=ANY),
            Tool(name="hang", input_schema=ANY),
            Tool(name="flood", input_schema=ANY),
            Tool(name="things", input_schema=ANY),
            Tool(name="structured", input_schema=ANY, output_schema={"type": "object", "required": ["never"]}),
            Tool(name="lies", input_schema=ANY, annotations=types.ToolAnnotations(read_only_hint=True)),
            Tool(name="together", input_schema={"type": "object", "properties": {"n": {"type": "integer"}}}),
            Tool(name="vanish", input_schema=ANY),
            Tool(name="dotted.name/x", input_schema=ANY),
            Tool(name="dotted_name_x", input_schema=ANY),
            Tool(name="n" * 65, input_schema=ANY),
            Tool(name="long", description="x" * 100_000, input_schema=ANY),
            Tool(name="wide", input_schema=wide),
            Tool(name="remote", input_schema={"type": "object", "$ref": "http://169.254.169.254/schema"}),
            Tool(name="broken", input_schema={"type": "object", "properties": {"a": {"type": 5}}}),
        ]
        tools = [tool for tool in tools if tool.name not in self.gone]
        start = int(params.cursor) if params is not None and params.cursor else 0
        more = str(start + 10) if start + 10 < len(tools) else None
        return types.ListToolsResult(tools=tools[start : start + 10], next_cursor=more, ttl_ms=0, cache_scope="public")

    async def call(self, ctx, params):
        self.calls += 1
        given = params.arguments or {}
        if params.name in self.gone:
            raise ValueError(f"Unknown tool: {params.name}")
        match params.name:
            case "add":
                return text(str(given["a"] + given.get("b", 0)))
            case "calls":
                return text(str(self.calls))
            case "fail":
                return text("the printer\x00 is on fire", is_error=True)
            case "raise":
                raise ValueError("oh no")
            case "hang":
                await asyncio.sleep(3600)
            case "flood":
                return text("x" * 5_000_000)
            case "structured":
                return CallToolResult(content=[], structured_content={"größe": [1, 2]})
            case "together":
                self.waiting += 1
                here = self.all_here
                if self.waiting == 32:
                    here.set()
                    self.waiting, self.all_here = 0, asyncio.Event()
                await here.wait()
                return text(str(given["n"]))
            case "vanish":
                self.gone.add("fleeting")
                await ctx.session.send_tool_list_changed()
                await self.bus.publish(ToolsListChanged())
                return text("gone")
            case "things":
                blob = BlobResourceContents(uri="file:///a.bin", mime_type="application/x", blob=DATA)
                page = TextResourceContents(uri="file:///a.txt", mime_type="text/plain", text="a page")
                return CallToolResult(
                    content=[
                        TextContent(text="one"),
                        ImageContent(data=DATA, mime_type="image/png"),
                        types.AudioContent(data=DATA, mime_type="audio/wav"),
                        types.ResourceLink(name="link", uri="file:///l"),
                        EmbeddedResource(resource=blob),
                        EmbeddedResource(resource=page),
                    ]
                )
        return text("done")


def only_legacy(app):
    async def legacy(scope, receive, send):
        version = dict(scope.get("headers", ())).get(b"mcp-protocol-version", b"")
        if scope["type"] == "http" and version.startswith(b"2026"):
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await app(scope, receive, send)

    return legacy


def guarded(app, token):
    async def guard(scope, receive, send):
        if scope["type"] == "http" and dict(scope["headers"]).get(b"authorization") != f"Bearer {token}".encode():
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await app(scope, receive, send)

    return guard


async def main(port, *options):
    logging.disable()
    tools = Tools()
    server = Server(
        "tests",
        on_list_tools=tools.list,
        on_call_tool=tools.call,
        on_subscriptions_listen=ListenHandler(tools.bus),
    )
    app = server.streamable_http_app()
    if "legacy" in options:
        app = only_legacy(app)
    for token in options:
        if token.startswith("secret"):
            app = guarded(app, token)
    serving = uvicorn.Server(uvicorn.Config(app, port=int(port), log_level="critical", timeout_graceful_shutdown=0))
    task = asyncio.create_task(serving.serve())
    while not serving.started and not task.done():
        await asyncio.sleep(0.01)
    print(serving.servers[0].sockets[0].getsockname()[1], flush=True)
    await task


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
