"""Parameters of queries and headers that several operations share, or that are long lists."""

from __future__ import annotations

from serving.api.operation import Parameter
from serving.api.routes.files import LISTED
from serving.store.files import MAX_PAGE

RESUMABLE = (Parameter("headrace-resumable", {"type": "string", "enum": ["true", "false"], "default": "false"}),)
LIMIT = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20})
ORDER = Parameter("order", {"type": "string", "enum": ["asc", "desc"], "default": "desc"})
AFTER = Parameter("after", {"type": "string", "maxLength": 64})
SIGN_IN_ANSWER: dict[str, object] = {"type": "string", "maxLength": 4096}
PAGE = (LIMIT, ORDER, AFTER)
FILES = (
    Parameter("limit", {**LIMIT.schema, "maximum": MAX_PAGE}),
    ORDER,
    AFTER,
    Parameter("purpose", {"type": "string", "enum": list(LISTED)}),
)
TENANT = Parameter("tenant", {"type": "string", "maxLength": 256})  # which tenant, for the stack's own key
OLDEST_FIRST = (LIMIT, Parameter("order", {**ORDER.schema, "default": "asc"}), AFTER)
USER = Parameter("user", {"type": "string", "maxLength": 256})
_DAY: dict[str, object] = {"type": "string", "format": "date"}
DAYS = (
    Parameter("start", _DAY),
    Parameter("end", _DAY),
    LIMIT,
    Parameter("after", {"type": "string", "maxLength": 256}),
)


def group_by(*allowed: str) -> Parameter:
    """Returns the parameter for the grouping of usage."""
    return Parameter("by", {"type": "string", "enum": list(allowed), "default": "day"})


LONG_AFTER = Parameter("after", {"type": "string", "maxLength": 256})  # if an id is a name
NAMES = (LIMIT, ORDER, LONG_AFTER)
