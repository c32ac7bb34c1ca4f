"""Operations of releases."""

from __future__ import annotations

from serving.api.operation import Operation, Parameter
from serving.api.parameters import PAGE
from serving.api.routes.hub import releases
from serving.protocol.releases import Promotion, ReleaseChange, ReleaseRequest

_ONE = "/v1/hub/releases/{release_id}"

RELEASE_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/v1/hub/releases",
        releases.create,
        ReleaseRequest,
        scope="hub:write",
        audited="hub_release.create",
        own_transaction=True,
    ),
    Operation(
        "GET",
        "/v1/hub/releases",
        releases.list_page,
        query=(*PAGE, Parameter("alias", {"type": "string", "maxLength": 128})),
        scope="hub:read",
    ),
    Operation("GET", _ONE, releases.get, scope="hub:read"),
    Operation(
        "POST",
        f"{_ONE}/promote",
        releases.promote,
        Promotion,
        scope="hub:write",
        audited="hub_release.promote",
        own_transaction=True,
    ),
    Operation(
        "POST",
        f"{_ONE}/pause",
        releases.pause,
        ReleaseChange,
        scope="hub:write",
        audited="hub_release.pause",
        own_transaction=True,
    ),
    Operation(
        "POST",
        f"{_ONE}/resume",
        releases.resume,
        ReleaseChange,
        scope="hub:write",
        audited="hub_release.resume",
        own_transaction=True,
    ),
    Operation(
        "POST",
        f"{_ONE}/rollback",
        releases.rollback,
        ReleaseChange,
        scope="hub:write",
        audited="hub_release.rollback",
        own_transaction=True,
    ),
)
