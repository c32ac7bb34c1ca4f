"""Schemathesis over the served OpenAPI document: whatever is sent, no server error and no answer off the schema."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings

from serving.api.openapi.document import document
from serving.api.operations import OPERATIONS as DOCUMENTED

pytestmark = pytest.mark.long

ADDRESS = 12_000
"""Characters of an address that surely reach the gateway: HAProxy's buffer for a request's head has 16 KiB."""
EXAMPLES = int(os.environ.get("HEADRACE_SCHEMA_EXAMPLES", "5"))
"""Of each operation and mode; there are twenty times as many in the soak."""
UNAVAILABLE = ("/v1/admin/alerts", "/v1/admin/dashboards/{dashboard_id}")
"""What needs a Prometheus, which is not there: a 503 says so."""
MODES = [("positive", op) for op in DOCUMENTED]
MODES += [("negative", op) for op in DOCUMENTED if op.body or op.query or op.upload]


@pytest.fixture(scope="module")
def operations() -> dict[str, Any]:
    """By their names. Schemathesis takes seconds to import, for which each process that collects this would wait."""
    import schemathesis

    schema = schemathesis.openapi.from_dict(document(DOCUMENTED))
    return {op.ok().label: op.ok() for op in schema.get_all_operations()}


@pytest.fixture(scope="module")
def checks() -> list[Any]:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    of_schema = checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance
    return [not_a_server_error, *of_schema]


def test_the_served_document_is_the_one_that_is_checked(whole):
    assert httpx.get(f"{whole.url}/openapi.json", timeout=60).json() == document(DOCUMENTED)


def test_every_operation_is_asked(operations):
    assert {f"{op.method} {op.path}" for op in DOCUMENTED} == operations.keys()


@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(20 * EXAMPLES, marks=pytest.mark.soak)])
@pytest.mark.parametrize(("mode", "op"), MODES, ids=[f"{mode} {op.method} {op.path}" for mode, op in MODES])
def test_no_request_breaks_the_server(mode, op, examples, operations, checks, whole):
    from schemathesis import GenerationMode

    operation = operations[f"{op.method} {op.path}"]

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
    def check(case):
        if len(urlencode(case.query or {})) > ADDRESS:
            return  # HAProxy answers itself: see docs/reference/errors.md
        # A valid request may ask for a very long answer.
        if isinstance(case.body, dict) and isinstance(case.body.get("max_tokens", 4), int):
            case.body.pop("max_completion_tokens", None)
            case.body["max_tokens"] = 4
        if isinstance(case.body, dict) and isinstance(case.body.get("max_output_tokens", 4), int):
            case.body["max_output_tokens"] = 4
        headers = {"Authorization": f"Bearer {whole.key}"}
        response = case.call(base_url=whole.url, headers=headers, timeout=300)
        if op.path in UNAVAILABLE and response.status_code == 503:
            assert "has no Prometheus" in response.text
            return
        case.validate_response(response, checks=checks, headers=headers)

    check()
