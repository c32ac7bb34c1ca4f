"""Schemas that others wrote: what is taken over stays true, and nothing in them can take long."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from serving.assistants.tools.json_schema import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_NODES,
    MAX_TEXT,
    UnusableSchema,
    clean,
    restrict,
)

NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "xyz"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def keywords(inner):
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", "string", "integer", "null", ["string", "object"]]),
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b"]), inner, max_size=2),
            "additionalProperties": inner,
            "required": st.lists(NAMES, unique=True, max_size=2),
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "contains": inner,
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "enum": st.lists(VALUES, min_size=1, max_size=3),
            "const": VALUES,
            "minimum": st.integers(-3, 3),
            "maxLength": st.integers(0, 3),
            "minItems": st.integers(0, 2),
            "pattern": st.sampled_from(["^x", "z$"]),
            "$ref": st.sampled_from(["#/$defs/d", "#/$defs/e"]),
            "title": st.text(max_size=5),
        },
    )


FLAT = keywords(st.booleans()).map(lambda schema: {word: schema[word] for word in schema if word != "$ref"})
SCHEMAS = st.booleans() | keywords(st.booleans())


@st.composite
def roots(draw):
    return {**draw(keywords(SCHEMAS)), "type": "object", "$defs": {"d": draw(FLAT), "e": draw(FLAT)}}


@settings(max_examples=50)
@given(roots(), st.dictionaries(NAMES, VALUES, max_size=3))
def test_simplified_schemas_accept_the_same_values(schema, arguments):
    made = restrict(schema)
    Draft202012Validator.check_schema(made)
    assert "$ref" not in json.dumps(made)
    allowed = Draft202012Validator(schema).is_valid(arguments)
    assert not allowed or Draft202012Validator(made).is_valid(arguments)


def test_invalid_values_are_rejected():
    schema = {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 1, "maximum": 3},
            "mode": {"$ref": "#/$defs/mode"},
            "either": {"oneOf": [{"type": "string"}, {"type": "null"}]},
            "list": {"type": "array", "items": [{"type": "integer"}], "minItems": 1},
        },
        "required": ["n"],
        "additionalProperties": False,
        "$defs": {"mode": {"enum": ["fast", "slow"]}},
    }
    validator = Draft202012Validator(restrict(schema))
    assert validator.is_valid({"n": 1, "mode": "fast", "either": None, "list": [1, "any"]})
    for wrong in ({}, {"n": 0}, {"n": 1, "mode": "x"}, {"n": 1, "either": 5}, {"n": 1, "list": []}, {"n": 1, "m": 2}):
        assert not validator.is_valid(wrong), wrong


def test_schemas_without_a_type_describe_objects():
    assert restrict({}) == {"type": "object"}


def nested(depth):
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def tenfold(times):
    """Each definition names the next one ten times: written out, there are 10 ** times."""
    defs = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 10} for i in range(times)}
    return {"type": "object", "$ref": "#/$defs/d0", "$defs": {**defs, f"d{times}": {"type": "object"}}}


def shared(value):
    """Many parts refer to one with a long value."""
    parts = {f"p{i}": {"$ref": "#/$defs/long"} for i in range(200)}
    return {"type": "object", "properties": parts, "$defs": {"long": {"enum": [value]}}}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (None, "not the schema of an object"),
        (True, "not the schema of an object"),
        ([], "not the schema of an object"),
        ({"type": "string"}, "not the schema of an object"),
        ({"type": ["object"]}, "not the schema of an object"),
        ({"properties": []}, "not a JSON Schema"),
        ({"properties": {"a": 5}}, "not a JSON Schema"),
        ({"properties": {"a": {"type": "strange"}}}, "not a JSON Schema"),
        ({"allOf": {}}, "not a JSON Schema"),
        ({"required": "a"}, "not a JSON Schema"),
        ({"enum": "a"}, "not a JSON Schema"),
        ({"multipleOf": 0}, "not a JSON Schema"),
        ({"const": 10**5000}, "not a JSON Schema"),
        ({"const": 2**64}, "not a JSON Schema"),  # no engine could be sent it
        ({"properties": {"a": {"enum": [{"b": 2**64}]}}}, "not a JSON Schema"),
        ({"properties": {"a": {"type": ["string"] * 2}}}, "not a JSON Schema"),
        ({"default": nested(5000)}, "not a JSON Schema"),
        ({"$ref": "http://169.254.169.254/"}, "outside"),
        ({"$ref": "file:///etc/passwd"}, "outside"),
        ({"$ref": "#anchor"}, "outside"),
        ({"$ref": 5}, "outside"),
        ({"$ref": "#/$defs/none"}, "nowhere"),
        ({"$ref": "#/allOf/7", "allOf": [{}]}, "nowhere"),
        ({"$dynamicRef": "#a"}, "dynamic"),
        ({"properties": {"a\u202eb": {}}}, "cannot be seen"),
        ({"properties": {"a" * (MAX_TEXT + 1): {}}}, "long"),
        ({"properties": {str(i): {} for i in range(MAX_NODES)}}, f"more than {MAX_NODES} parts"),
        ({"properties": {"a": {"enum": ["x" * MAX_CHARACTERS]}}}, f"more than {MAX_CHARACTERS} characters"),
        (nested(MAX_DEPTH + 1), "deeper"),
        (nested(5000), "deeper"),
        (tenfold(5), "more than"),
        (shared("x" * 100_000), f"more than {MAX_CHARACTERS} characters"),
        ({"$ref": "#/$defs/" + "a" * MAX_TEXT}, "too long"),
    ],
    ids=range(33),
)
def test_unusable_schemas_are_rejected(schema, why):
    with pytest.raises(UnusableSchema, match=why):
        restrict(schema)


@pytest.mark.parametrize(
    "part",
    [
        {"type": [{"a": i} for i in range(500)]},
        {"type": ["string"] * 8},
        {"required": [{"a": i} for i in range(500)]},
        {"enum": ["x"] * MAX_CHARACTERS},
    ],
    ids=range(4),
)
def test_expensive_patterns_are_rejected_up_front(part, monkeypatch):
    def asked(schema):
        raise AssertionError("JSON Schema's own schema was asked")

    monkeypatch.setattr(Draft202012Validator, "check_schema", asked)
    with pytest.raises(UnusableSchema):
        restrict({"properties": {"a": part}})


def test_recursive_references_allow_anything():
    tree = {"type": "object", "properties": {"name": {"type": "string"}, "children": {"items": {"$ref": "#"}}}}
    validator = Draft202012Validator(restrict(tree))
    assert validator.is_valid({"name": "a", "children": [{"children": [{"children": 5}]}]})
    assert not validator.is_valid({"name": "a", "children": [{"name": 5}]})
    assert restrict({"$ref": "#"}) == {"type": "object", "allOf": [{"allOf": [{}]}]}


@pytest.mark.parametrize(
    "number", [float("nan"), float("inf"), True, "5", 10**400, 2**64, -(2**63), 1e300], ids=range(8)
)
def test_non_portable_numbers_are_removed(number):
    assert restrict({"minProperties": number}) == {"type": "object"}


def test_repeated_references_do_not_multiply_the_schema():
    tracemalloc.start()
    try:
        with pytest.raises(UnusableSchema, match="characters"):
            restrict(shared("x" * 200_000))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("hidden", ["a\u200bb", "\U000e0041", "\x1b[31m", "\u202e"])
def test_invisible_values_are_removed(hidden):
    schema = {"enum": [{"a": ["x", hidden]}], "const": {hidden: 1}, "default": hidden, "format": hidden}
    assert restrict({**schema, "required": [hidden]}) == {"type": "object"}
    kept = {"enum": [{}, {"a": "\n日本\t🙂"}], "required": ["a"]}
    assert restrict(kept) == {"type": "object", **kept}


@given(st.text(max_size=50), st.integers(1, 20))
def test_invisible_characters_are_removed(text, limit):
    made = clean(text, limit)
    assert len(made) <= limit
    assert made.isprintable()
    assert clean(made, limit) == made


def test_truncated_text_ends_with_a_visible_mark():
    assert clean("a b", 2) == "a"


def test_a_text_is_read_as_it_was_meant():
    assert clean("  Füße\n\tund  日本 🙂 ") == "Füße und 日本 🙂"
    assert clean("a\u200b\u202e\U000e0041b\x1b\x00\ue000c") == "abc"
