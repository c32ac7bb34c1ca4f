"""Resources: the texts of the caller's files, by the routes of files."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, unquote

import mcp_types as types

from serving.api.http_exchange import HttpExchange
from serving.api.mcp.tools import ROUTES, ask
from serving.api.services import Services
from serving.protocol.errors import not_found
from serving.protocol.mcp.arguments import FileArguments
from serving.protocol.validation import validate
from serving.retrieval.text.window import CHARACTERS

START = "headrace://files/"

KIND = "text/plain"

PAGE = 100
"""Files of one page."""

TEMPLATES = [
    types.ResourceTemplate(
        uri_template=START + "{file_id}{?start,end}",
        name="passage",
        title="A passage of a file",
        description=f"The text of a file from `start` to `end`, at most {CHARACTERS} characters.",
        mime_type=KIND,
    )
]


async def files(s: Services, x: HttpExchange, cursor: str | None) -> types.ListResourcesResult:
    """Returns a page of the caller's files; none without the scope that reads them. Raises what the route raises."""
    op = ROUTES["GET /v1/files"]
    if op.scope not in x.caller.scopes:
        return types.ListResourcesResult(resources=[])
    page = await ask(s, x, op, query={"limit": PAGE, **({"after": cursor} if cursor is not None else {})})
    found = [
        types.Resource(uri=START + quote(each["id"], safe=""), name=each["filename"], mime_type=KIND)
        for each in page["data"]
    ]
    return types.ListResourcesResult(resources=found, next_cursor=page["last_id"] if page["has_more"] else None)


async def text(s: Services, x: HttpExchange, uri: str) -> types.ReadResourceResult:
    """Returns a passage of a file, by default its beginning; `_meta` says where it is and how long the whole text is.

    Raises `ApiError`, and what the route raises.
    """
    path, _, query = uri.partition("?")
    if not path.startswith(START):
        raise not_found("resource", "uri")
    asked: dict[str, object] = {"file_id": unquote(path.removeprefix(START))}
    for name, value in parse_qsl(query, keep_blank_values=True):
        asked[name] = int(value) if value.isascii() and value.isdigit() and len(value) <= 9 else value
    given = validate(FileArguments, asked)
    where = {"start": given.start, "end": given.end}
    found = await ask(s, x, ROUTES["GET /v1/files/{file_id}/text"], path={"file_id": given.file_id}, query=where)
    told = {f"headrace/{name}": found[name] for name in ("start", "end", "length")}
    return types.ReadResourceResult(
        contents=[types.TextResourceContents(uri=uri, text=found["text"], mime_type=KIND, meta=told)]
    )
