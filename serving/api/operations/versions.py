"""Operations of versions of models and adapters."""

from __future__ import annotations

from typing import get_args

from serving.api.operation import Operation, Parameter
from serving.api.parameters import PAGE
from serving.api.routes.hub import consents, live, versions
from serving.hub.names import Kind, VersionStatus
from serving.protocol.tuning import MAX_VERSION_NAME, VERSION_NAME
from serving.protocol.versions import ConsentRequest, ConsentRevocation, VersionRetirement

_ONE = "/v1/hub/versions/{version_id}"

_FILE = {"type": "string", "format": "binary"}

_UPLOAD: dict[str, object] = {
    "type": "object",
    "required": ["name", "base", "weights"],
    "properties": {
        "name": {"type": "string", "pattern": VERSION_NAME},
        "base": {"type": "string", "description": "the chat model that it adapts"},
        "base_digest": {
            "type": "string",
            "pattern": "^[0-9a-f]{64}$",
            "description": "SHA-256 of the weights that it was trained for, which is compared with the base's",
        },
        "provenance": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "an object that says where it comes from",
        },
        "weights": {**_FILE, "description": "PEFT's adapter_model.safetensors, or an adapter in GGUF"},
        "config": {**_FILE, "description": "PEFT's adapter_config.json; not with GGUF"},
    },
}

VERSION_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/v1/hub/versions",
        versions.create,
        upload=_UPLOAD,
        scope="hub:write",
        audited="hub_version.create",
        own_transaction=True,
    ),
    Operation(
        "GET",
        "/v1/hub/versions",
        versions.list_page,
        query=(
            *PAGE,
            Parameter("name", {"type": "string", "maxLength": MAX_VERSION_NAME}),
            Parameter("kind", {"type": "string", "enum": list(get_args(Kind))}),
            Parameter("status", {"type": "string", "enum": list(get_args(VersionStatus))}),
        ),
        scope="hub:read",
    ),
    Operation("GET", _ONE, versions.get, scope="hub:read"),
    Operation("GET", f"{_ONE}/lineage", versions.lineage, scope="hub:read"),
    Operation("GET", f"{_ONE}/artefacts/{{artefact}}/content", versions.content, scope="hub:read"),
    Operation(
        "POST",
        f"{_ONE}/retire",
        versions.retire,
        VersionRetirement,
        scope="hub:write",
        audited="hub_version.retire",
        own_transaction=True,
    ),
    Operation("GET", f"{_ONE}/live", live.get, scope="hub:read"),
    Operation(
        "POST", f"{_ONE}/serve", live.serve, scope="hub:write", audited="hub_version.serve", own_transaction=True
    ),
    Operation(
        "POST",
        f"{_ONE}/withdraw",
        live.withdraw,
        scope="hub:write",
        audited="hub_version.withdraw",
        own_transaction=True,
    ),
    Operation("GET", f"{_ONE}/consents", consents.list_all, scope="hub:read"),
    Operation(
        "POST",
        f"{_ONE}/consents",
        consents.create,
        ConsentRequest,
        scope="hub:write",
        audited="hub_consent.create",
        own_transaction=True,
    ),
    Operation(
        "POST",
        f"{_ONE}/consents/revoke",
        consents.revoke,
        ConsentRevocation,
        scope="hub:write",
        audited="hub_consent.revoke",
        own_transaction=True,
    ),
)
