"""Schemathesis over the served OpenAPI document: whatever is sent, no server error and no answer off the schema."""

from __future__ import annotations

import os
from urllib.parse import urlencode

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serving.api.openapi.document import document
from serving.api.operations import OPERATIONS as DOCUMENTED

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ADDRESS = 12_000
"""Characters of an address that surely reach the gateway: HAProxy's buffer for a request's head has 16 KiB."""
EXAMPLES = int(os.environ.get("HEADRACE_SCHEMA_EXAMPLES", "10"))
SCHEMA = schemathesis.openapi.from_dict(document(DOCUMENTED))
OPERATIONS = {op.ok().label: op.ok() for op in SCHEMA.get_all_operations()}
MODES = [(label, GenerationMode.POSITIVE) for label in OPERATIONS]
MODES += [(f"{op.method} {op.path}", GenerationMode.NEGATIVE) for op in DOCUMENTED if op.body or op.query or op.upload]


def test_the_served_document_is_the_one_that_is_checked(whole):
    assert httpx.get(f"{whole.url}/openapi.json", timeout=60).json() == document(DOCUMENTED)


@pytest.mark.parametrize(("label", "mode"), MODES, ids=[f"{mode.value} {label}" for label, mode in MODES])
def test_no_request_breaks_the_server(label, mode, whole):
    operation = OPERATIONS[label]

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
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
        response = case.call(base_url=whole.url, headers=headers, timeout=60)
        case.validate_response(response, checks=CHECKS, headers=headers)

    check()
