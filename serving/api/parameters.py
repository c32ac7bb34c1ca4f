"""Parameters of queries and headers that several operations share, or that are long lists."""

from __future__ import annotations

from serving.api.operation import Parameter
from serving.api.routes.files import LISTED
from serving.core.principal import ROLES
from serving.store.files import MAX_PAGE

RESUMABLE = (Parameter("headrace-resumable", {"type": "string", "enum": ["true", "false"], "default": "false"}),)
ANTHROPIC_VERSION = Parameter("anthropic-version", {"type": "string", "maxLength": 64})  # of any version
MCP_VERSION = Parameter("mcp-protocol-version", {"type": "string", "maxLength": 64})
LIMIT = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20})
ORDER = Parameter("order", {"type": "string", "enum": ["asc", "desc"], "default": "desc"})
AFTER = Parameter("after", {"type": "string", "maxLength": 64})
CSRF_TOKEN = Parameter("x-csrf-token", {"type": "string", "maxLength": 64})
SIGN_IN_ANSWER: dict[str, object] = {"type": "string", "maxLength": 4096}
PAGE = (LIMIT, ORDER, AFTER)
FILES = (
    Parameter("limit", {**LIMIT.schema, "maximum": MAX_PAGE}),
    ORDER,
    AFTER,
    Parameter("purpose", {"type": "string", "enum": list(LISTED)}),
)
_POSITION: dict[str, object] = {"type": "integer", "minimum": 0, "maximum": 999_999_999, "default": 0}
PASSAGE = (Parameter("start", _POSITION), Parameter("end", _POSITION))
FILE_UPLOAD: dict[str, object] = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": ["assistants", "user_data"]},
        "access": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "the access list, as a vector store's",
        },
    },
}
TENANT = Parameter("tenant", {"type": "string", "maxLength": 256})  # which tenant, for the stack's own key
OLDEST_FIRST = (LIMIT, Parameter("order", {**ORDER.schema, "default": "asc"}), AFTER)
ASSISTANT = Parameter("assistant", {"type": "string", "maxLength": 128})
MODEL = Parameter("model", {"type": "string", "maxLength": 256})
USER = Parameter("user", {"type": "string", "maxLength": 256})
_DAY: dict[str, object] = {"type": "string", "format": "date"}
DAYS = (
    Parameter("start", _DAY),
    Parameter("end", _DAY),
    LIMIT,
    Parameter("after", {"type": "string", "maxLength": 256}),
)


def seconds(name: str) -> Parameter:
    """Returns a parameter that is a time in unix seconds."""
    return Parameter(name, {"type": "integer", "minimum": 0, "maximum": 99_999_999_999})


def flag(name: str) -> Parameter:
    """Returns a parameter that is true or false."""
    return Parameter(name, {"type": "string", "enum": ["true", "false"]})


INCLUDE = Parameter("include", {"type": "array", "items": {"type": "string", "maxLength": 64}, "maxItems": 16})
TARGETS = Parameter("target", {"type": "array", "items": {"type": "string", "maxLength": 128}, "maxItems": 100})
Q = Parameter("q", {"type": "string", "maxLength": 256})
USERS = (Q, Parameter("role", {"type": "string", "enum": list(ROLES)}), flag("disabled"))
CONVERSATIONS = (
    *PAGE,
    Q,
    flag("pinned"),
    flag("archived"),
    MODEL,
)


def group_by(*allowed: str) -> Parameter:
    """Returns the parameter for the grouping of usage."""
    return Parameter("by", {"type": "string", "enum": list(allowed), "default": "day"})


LONG_AFTER = Parameter("after", {"type": "string", "maxLength": 256})  # if an id is a name
NAMES = (LIMIT, ORDER, LONG_AFTER)
