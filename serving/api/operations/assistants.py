"""Operations of assistants that tenants create."""

from __future__ import annotations

from serving.api.operation import Operation
from serving.api.parameters import PAGE
from serving.api.routes import assistants
from serving.protocol.assistants import AssistantRequest, AssistantUpdate, AssistantVersionRequest

_ONE = "/v1/assistants/{assistant_id}"

ASSISTANT_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/v1/assistants",
        assistants.create,
        AssistantRequest,
        scope="data",
        audited="assistant.create",
        own_transaction=True,
    ),
    Operation("GET", "/v1/assistants", assistants.list_page, query=PAGE, scope="data:read"),
    Operation("GET", _ONE, assistants.get, scope="data:read"),
    Operation("POST", _ONE, assistants.update, AssistantUpdate, scope="data", audited="assistant.update"),
    Operation("DELETE", _ONE, assistants.delete, scope="data", audited="assistant.delete"),
    Operation(
        "POST",
        f"{_ONE}/versions",
        assistants.add_version,
        AssistantVersionRequest,
        scope="data",
        audited="assistant.version",
        own_transaction=True,
    ),
    Operation("GET", f"{_ONE}/versions", assistants.list_versions, query=PAGE, scope="data:read"),
)
