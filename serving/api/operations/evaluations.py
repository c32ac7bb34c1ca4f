"""Operations of suites and evaluations."""

from __future__ import annotations

from serving.api.operation import Operation
from serving.api.parameters import PAGE
from serving.api.routes.hub import evaluations, suites
from serving.protocol.evaluations import EvaluationRequest
from serving.protocol.suites import Suite

_ONE = "/v1/hub/evaluations/{evaluation_id}"

EVALUATION_OPERATIONS: tuple[Operation, ...] = (
    Operation("POST", "/v1/hub/suites", suites.create, Suite, scope="hub:write", audited="hub_suite.create"),
    Operation("GET", "/v1/hub/suites", suites.list_page, query=PAGE, scope="hub:read"),
    Operation("GET", "/v1/hub/suites/{suite_id}", suites.get, scope="hub:read"),
    Operation(
        "POST",
        "/v1/hub/evaluations",
        evaluations.create,
        EvaluationRequest,
        scope="hub:write",
        audited="hub_evaluation.create",
    ),
    Operation("GET", "/v1/hub/evaluations", evaluations.list_page, query=PAGE, scope="hub:read"),
    Operation("GET", _ONE, evaluations.get, scope="hub:read"),
    Operation("POST", f"{_ONE}/cancel", evaluations.cancel, scope="hub:write", audited="hub_evaluation.cancel"),
)
