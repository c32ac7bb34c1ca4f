"""The server of the Model Context Protocol, by the official SDK: each request is answered by itself.

The SDK knows the methods and both its eras: versions with a handshake, of which no state is kept, and versions whose
requests bring their own envelope. Its transport is not used: it needs tasks and streams of its own beside those of the
gateway, which reads and limits bodies and cancels what nobody waits for. Importing the SDK takes half a second. Source:
https://modelcontextprotocol.io/specification (Streamable HTTP).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import mcp_types as types
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_one
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    MCP_PROTOCOL_VERSION_HEADER,
    InboundLadderRejection,
    classify_inbound_request,
    find_duplicated_routing_header,
    unsupported_protocol_version_rejection,
)
from mcp.shared.jsonrpc_dispatcher import handler_exception_to_error_data
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import Request

from serving.api.failures import as_api_error
from serving.api.http import JsonResponse
from serving.api.http_exchange import HttpExchange
from serving.api.mcp import resources
from serving.api.mcp.tools import TOOLS, RouteTool, tools_for
from serving.api.openapi.document import api_version
from serving.api.services import Services
from serving.protocol.errors import ApiError, invalid, quoted
from serving.protocol.mcp import errors
from serving.protocol.mcp.messages import McpMessage

INSTRUCTIONS = (
    "Headrace runs language models and assistants of an organisation, and keeps its documents. "
    "Ask an assistant for an answer with sources, or search a vector store for passages."
)


@dataclass(frozen=True)
class McpExchange:
    """The request that a method answers."""

    services: Services
    x: HttpExchange


Context = ServerRequestContext[McpExchange, Any]


async def answer(s: Services, request: Request, x: HttpExchange, message: McpMessage) -> JsonResponse:
    """Returns the answer to a request; raises what its method raises and the protocol has no error for."""
    spoken = request.headers.get(MCP_PROTOCOL_VERSION_HEADER, types.DEFAULT_NEGOTIATED_VERSION)
    shaken = spoken in HANDSHAKE_PROTOCOL_VERSIONS
    told: dict[str, Any] = {"jsonrpc": "2.0", "id": message.id}
    try:
        connection = Connection.from_envelope(spoken, None, None) if shaken else _enveloped(request, message)
        told["result"] = await serve_one(
            SERVER,
            cast(Any, _OneAnswer(message.id)),
            message.method,
            message.params,
            connection=connection,
            lifespan_state=McpExchange(s, x),
        )
    except Exception as e:
        error = handler_exception_to_error_data(e)
        if error is None:
            raise
        if not x.code:
            x.fail(invalid(error.message))
        status = 200 if shaken else ERROR_CODE_HTTP_STATUS.get(error.code, 200)
        return JsonResponse(told | {"error": error.model_dump(exclude_none=True)}, status)
    return JsonResponse(told)


def _enveloped(request: Request, message: McpMessage) -> Connection:
    """Returns the connection that a request's envelope describes, which its headers must repeat. Raises `MCPError`."""
    wrong = unsupported_protocol_version_rejection(request.headers[MCP_PROTOCOL_VERSION_HEADER])
    if wrong is None and (name := find_duplicated_routing_header(request.headers.items())) is not None:
        wrong = InboundLadderRejection(types.HEADER_MISMATCH, f"{name} header appears more than once")
    if wrong is None:
        found = classify_inbound_request(message.model_dump(), headers=dict(request.headers))
        if not isinstance(found, InboundLadderRejection):
            return Connection.from_envelope(found.protocol_version, found.client_info, found.client_capabilities)
        wrong = found
    raise MCPError(wrong.code, wrong.message, wrong.data)


class _OneAnswer:
    """The SDK's context of a request whose answer is the only message to its sender."""

    transport = None
    message_metadata = None
    cancel_requested = None
    can_send_request = False

    def __init__(self, request_id: types.RequestId | None) -> None:
        self.request_id = request_id

    async def send_raw_request(self, method: str, *_: Any) -> dict[str, Any]:
        raise NoBackChannelError(method)

    async def notify(self, *_: Any) -> None:
        """Sends nothing."""

    async def progress(self, *_: Any) -> None:
        """Sends nothing."""


async def _list_tools(context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    _require_first_page(params)
    return types.ListToolsResult(tools=[_described(tool) for tool in tools_for(context.lifespan_context.x)])


def _described(tool: RouteTool) -> types.Tool:
    hints = types.ToolAnnotations(
        read_only_hint=not tool.changes, destructive_hint=tool.destroys, open_world_hint=tool.open_world
    )
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
        annotations=hints,
    )


async def _call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    tool = TOOLS.get(params.name)
    if tool is None:
        raise MCPError(types.INVALID_PARAMS, f"There is no tool {quoted(params.name)}.")
    s, x = context.lifespan_context.services, context.lifespan_context.x
    try:
        found = await tool.call(s, x, params.arguments or {})
    except Exception as e:
        error = as_api_error(e, x.request_id)
        x.fail(error)
        return types.CallToolResult(content=[types.TextContent(text=_explained(error))], is_error=True)
    return types.CallToolResult(content=[types.TextContent(text=tool.text(found))], structured_content=found)


async def _list_resources(context: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    call = context.lifespan_context
    with _as_protocol_errors(call.x):
        return await resources.files(call.services, call.x, params.cursor if params is not None else None)


async def _list_templates(
    context: Context, params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    _require_first_page(params)
    return types.ListResourceTemplatesResult(resource_templates=resources.TEMPLATES)


async def _read_resource(context: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    call = context.lifespan_context
    with _as_protocol_errors(call.x):
        return await resources.text(call.services, call.x, params.uri)


@contextmanager
def _as_protocol_errors(x: HttpExchange) -> Iterator[None]:
    """Raises what is raised inside as `MCPError`: of resources, unlike tools, no result says what went wrong."""
    try:
        yield
    except Exception as e:
        error = as_api_error(e, x.request_id)
        x.fail(error)
        code = types.INTERNAL_ERROR if error.type == "server_error" else types.INVALID_PARAMS
        raise MCPError(code, error.message, errors.data(error)) from None


def _explained(error: ApiError) -> str:
    """Returns an error as a model reads it, and corrects what it can."""
    where = f", argument {error.param}" if error.param is not None else ""
    wait = error.headers.get("Retry-After")
    return f"{error.message} ({error.code}{where}{f', try again after {wait} s' if wait is not None else ''})"


def _require_first_page(params: types.PaginatedRequestParams | None) -> None:
    """Raises `MCPError` for a cursor: none was given to anybody."""
    if params is not None and params.cursor is not None:
        raise MCPError(types.INVALID_PARAMS, "There is no such cursor.")


SERVER: Server[McpExchange] = Server(
    "headrace",
    version=api_version(),
    title="Headrace",
    instructions=INSTRUCTIONS,
    on_list_tools=_list_tools,
    on_call_tool=_call_tool,
    on_list_resources=_list_resources,
    on_list_resource_templates=_list_templates,
    on_read_resource=_read_resource,
)
SERVER.middleware.clear()  # it is OpenTelemetry's: requests have spans of their own
