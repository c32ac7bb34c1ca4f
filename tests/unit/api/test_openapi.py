"""The OpenAPI document: its links lead to operations that take what they bring, and every answer is described."""

from __future__ import annotations

import jsonschema
import pytest

from serving.api.openapi.document import document
from serving.api.operations import OPERATIONS as ALL

OPERATIONS = {op["operationId"]: op for methods in document(ALL)["paths"].values() for op in methods.values()}
LINKS = [
    (source, status, link)
    for source, op in OPERATIONS.items()
    for status, answer in op["responses"].items()
    for link in answer.get("links", {}).values()
]
# Health says what each replica likes to say, the document describes itself, a file is anything, and a cancellation
# never succeeds. A sign-in sends the browser elsewhere.
UNDESCRIBED = {
    "audit_export",
    "streams_follow",
    "health_alive",
    "health_ready",
    "health_openapi",
    "files_content",
    "vector_stores_content",
    "hub_versions_content",
    "sign_in_login",
    "sign_in_callback",
}


@pytest.mark.parametrize(
    ("source", "status", "link"), LINKS, ids=[f"{s} {link['operationId']}" for s, _, link in LINKS]
)
def test_links_provide_the_targets_parameters(source, status, link):
    target = OPERATIONS[link["operationId"]]
    assert status == "200"
    required = {p["name"] for p in target["parameters"] if p.get("required")}
    assert required == set(link.get("parameters", {})) or link.get("requestBody")
    assert set(link.get("parameters", {})) <= {p["name"] for p in target["parameters"]}
    assert not link.get("requestBody") or "requestBody" in target


def test_every_answer_is_described():
    described = set()
    for id, op in OPERATIONS.items():
        content = op["responses"].get("200", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        if schema:
            jsonschema.Draft202012Validator.check_schema(schema)
            assert not jsonschema.Draft202012Validator(schema).is_valid({})
            described.add(id)
    assert set(OPERATIONS) - described == UNDESCRIBED
