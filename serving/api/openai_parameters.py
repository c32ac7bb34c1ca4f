"""Parameters of OpenAI's queries and forms that have no effect, by operation."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request

from serving.api.operation import Operation
from serving.protocol.errors import invalid
from serving.protocol.parts import Ignored, Refused

_BEFORE = {"before": Refused("Lists can only be read forwards: use after and the other order.")}
_ITEMS = {"include": Ignored("an item is always returned whole")}
_STORED_ITEMS = {
    "include": Ignored("an item is always returned with all of OpenAI's fields; `headrace` adds what they lack")
}

NOT_ACTED_UPON: Mapping[str, Mapping[str, Refused | Ignored]] = {
    "POST /v1/files": {"expires_after": Refused("Files have no expiry of their own: delete them.")},
    "GET /v1/fine_tuning/jobs": {"metadata": Refused("Jobs cannot be filtered by their metadata.")},
    "GET /v1/vector_stores": _BEFORE,
    "GET /v1/vector_stores/{store_id}/files": _BEFORE,
    "GET /v1/vector_stores/{store_id}/file_batches/{file_batch_id}/files": _BEFORE,
    "GET /v1/responses/{response_id}": {
        "include": Ignored("a response is always returned whole"),
        "include_obfuscation": Ignored("streams are not padded to hide the sizes of their chunks"),
    },
    "GET /v1/responses/{response_id}/input_items": _ITEMS,
    "GET /v1/conversations/{conversation_id}/items": _STORED_ITEMS,
    "POST /v1/conversations/{conversation_id}/items": _ITEMS,
    "GET /v1/conversations/{conversation_id}/items/{item_id}": _STORED_ITEMS,
}


def refuse(op: Operation, request: Request) -> None:
    """Raises a 400 for an unsupported query parameter that would change the answer; false would not."""
    for name, mark in NOT_ACTED_UPON.get(f"{op.method} {op.path}", {}).items():
        given = request.query_params.get(name, "false") != "false"
        as_object = any(key.startswith(f"{name}[") for key in request.query_params)
        if isinstance(mark, Refused) and (given or as_object):
            raise invalid(mark.why, name)
