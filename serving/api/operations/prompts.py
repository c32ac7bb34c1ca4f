"""Operations of prompts that tenants store."""

from __future__ import annotations

from serving.api.operation import Operation, Parameter
from serving.api.parameters import PAGE
from serving.api.routes.prompts import labels, library, versions
from serving.protocol.prompts.requests import (
    LabelRequest,
    PromptRequest,
    PromptUpdate,
    PromptVersionRequest,
    RenderRequest,
)

_ONE = "/v1/prompts/{prompt_id}"
_LABEL = f"{_ONE}/labels/{{label}}"
_EXPECTED = Parameter("expected_version", {"type": "integer", "minimum": 0, "maximum": 999_999_999})

PROMPT_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/v1/prompts",
        library.create,
        PromptRequest,
        scope="data",
        audited="prompt.create",
        own_transaction=True,
    ),
    Operation("GET", "/v1/prompts", library.list_page, query=PAGE, scope="data:read"),
    Operation("GET", _ONE, library.get, scope="data:read"),
    Operation("POST", _ONE, library.update, PromptUpdate, scope="data", audited="prompt.update"),
    Operation("DELETE", _ONE, library.delete, scope="data", audited="prompt.delete"),
    Operation("POST", f"{_ONE}/render", library.render, RenderRequest, scope="data:read"),
    Operation(
        "POST",
        f"{_ONE}/versions",
        versions.add,
        PromptVersionRequest,
        scope="data",
        audited="prompt.version",
        own_transaction=True,
    ),
    Operation("GET", f"{_ONE}/versions", versions.list_page, query=PAGE, scope="data:read"),
    Operation("GET", f"{_ONE}/versions/{{version}}", versions.get, scope="data:read"),
    Operation("PUT", _LABEL, labels.put, LabelRequest, scope="data", audited="prompt.label", own_transaction=True),
    Operation(
        "DELETE",
        _LABEL,
        labels.delete,
        query=(_EXPECTED,),
        scope="data",
        audited="prompt.unlabel",
        own_transaction=True,
    ),
)
