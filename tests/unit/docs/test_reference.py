"""The reference pages say what the code says: generated pages do not drift, hand-written ones are complete."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from infra.config import NAMESPACE, StackConfig
from serving.telemetry.catalogue import CATALOGUE, STAGES
from tools import docs
from tools.reference import compatibility, schema

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"


@pytest.mark.parametrize("name", docs.PAGES)
def test_a_generated_page_is_up_to_date(name):
    page = (REFERENCE / name).read_text()
    assert docs.NOTE in page or compatibility.BEGIN in page
    assert page == docs.PAGES[name](), f"docs/reference/{name} is out of date: run `make docs`"


def test_check_fails_on_a_stale_page_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(docs, "FOLDER", tmp_path)
    monkeypatch.setattr(docs, "PAGES", {"a.md": lambda: "new\n"})
    assert docs.main(["--check"]) == 1
    assert "a.md" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert docs.main([]) == 0
    assert docs.main(["--check"]) == 0


def test_every_setting_is_declared_and_documented():
    page = (REFERENCE / "configuration.md").read_text()
    declared = {key.removeprefix(f"{NAMESPACE}:") for key in docs.settings()}
    assert declared == set(StackConfig.model_fields)
    for name in declared:
        assert f"## {NAMESPACE}:{name}\n" in page
    for fields in _nested(StackConfig.model_json_schema()):
        assert all(f".{field}`" in page for field in fields), fields


def _nested(root):
    """Field names of every object that a setting can hold."""
    return [d["properties"] for d in root["$defs"].values() if d.get("properties")]


def test_every_metric_and_stage_has_a_row():
    page = (REFERENCE / "metrics.md").read_text()
    for metric in CATALOGUE:
        assert f"- `{metric.name}` is a {metric.kind}" in page
    assert all(f"`{stage}`" in page for stage in STAGES)


def test_every_route_is_documented():
    from serving.api.operations import OPERATIONS

    page = (REFERENCE / "http-api.md").read_text()
    for op in OPERATIONS:
        assert f"## {op.method} {op.path}\n" in page


def test_the_documented_error_codes_are_those_of_the_code():
    page = (REFERENCE / "errors.md").read_text()
    documented = set(re.findall(r"^- `(\w+)`(?: \(\d+\))?:", page, re.MULTILINE))
    assert documented == _codes()


def test_the_documented_statuses_are_those_of_the_api():
    page = (REFERENCE / "errors.md").read_text()
    documented = {(code, int(status)) for code, status in re.findall(r"^- `(\w+)` \((\d+)\):", page, re.MULTILINE)}
    assert documented == _statuses() | {("method_not_allowed", 405)}  # the router gives a wrong method its status


def _statuses():
    """Codes with the HTTP statuses that the API gives them, read from the source."""
    from serving.api.http_error import status_of
    from serving.protocol.errors import ApiError

    types = {"forbidden": "permission_error", "Forged": "permission_error", "rate_limited": "rate_limit_error"}
    found = {("invalid_value", 400)}  # the default of `invalid`
    for name, node, code in _said()[0]:
        status = node.args[0].value if name == "HttpError" and isinstance(node.args[0], ast.Constant) else None
        if name not in OF_JOBS and (name != "HttpError" or status is not None):
            type = next((k.value.value for k in node.keywords if k.arg == "type"), types.get(name))
            found.add((code, status or status_of(ApiError(code, "", type=type or "invalid_request_error"))))
    return found


POSITION = {
    "ApiError": 0,
    "ApprovalError": 0,
    "ExternalError": 0,
    "Forged": 0,
    "HttpError": 1,
    "PermanentError": 0,
    "_refused": 2,
    "forbidden": 0,
    "invalid": 2,
    "rate_limited": 0,
}
"""Where calls are given an error's code."""

OF_JOBS = ("ExternalError", "PermanentError")
"""Those whose codes no answer has."""


@cache
def _said():
    """What is called, the call and each code in it; and the codes that functions give when they are given none."""
    calls, defaults = [], []
    for path in (ROOT / "serving").rglob("*.py"):
        text = path.read_text()
        if not ("def fail(" in text or any(f"{name}(" in text for name in POSITION)):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and (name := getattr(node.func, "id", "")) in POSITION:
                at = POSITION[name]
                given = [*node.args[at : at + 1], *(k.value for k in node.keywords if k.arg == "code")]
                calls += [(name, node, a.value) for a in given if isinstance(a, ast.Constant)]
            elif isinstance(node, ast.FunctionDef) and node.name in ("invalid", "fail"):
                values = (d.value for d in (*node.args.defaults, *node.args.kw_defaults) if isinstance(d, ast.Constant))
                defaults += [value for value in values if isinstance(value, str)]
    return calls, defaults


def _codes():
    """Codes given to `ApiError`, its helpers, `PermanentError` and jobs, read from the source."""
    from serving.store.jobs.job import SERVER_ERROR

    calls, defaults = _said()
    return {*(code for _, _, code in calls), *defaults, SERVER_ERROR}


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 8, "default": 2}, "an integer from 1 to 8, by default `2`"),
        ({"type": "number", "exclusiveMinimum": 0}, "a number above 0"),
        ({"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}]}, "a string of at most 9 characters"),
        (
            {"type": "array", "items": {"type": "boolean"}, "default": []},
            "a list, each `true` or `false`, by default empty",
        ),
        ({"type": "string", "enum": ["a", "b"]}, "one of `a`, `b`"),
        ({"$ref": "#/$defs/Thing"}, "a `Thing` object"),
    ],
)
def test_schemas_are_described_in_words(field, words):
    root = {"$defs": {"Thing": {"type": "object", "properties": {"a": {}}}}}
    assert schema.field_description(field, root) == words


def test_the_metrics_page_names_only_what_is_known():
    from monitoring.known_series import KNOWN
    from tools.reference.metrics import GENAI, PROGRAMS

    named = {name for row in GENAI for name in row[1:] if name}
    histograms = {name for name in named if f"{name}_bucket" in KNOWN}
    assert named - histograms <= KNOWN.keys()
    assert {s.source for s in KNOWN.values()} <= {*PROGRAMS, "headrace", "rule"}
    page = (REFERENCE / "metrics.md").read_text()
    assert all(f"`{one.name}`" in page for one in KNOWN.values() if one.source == "rule")
