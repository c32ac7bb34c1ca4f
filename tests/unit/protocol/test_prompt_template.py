"""The template of a prompt: what is a variable, and what a value can and cannot do."""

from __future__ import annotations

import random

import pytest

from serving.protocol.errors import ApiError
from serving.protocol.prompts.template import (
    MAX_NAME,
    MAX_RENDERED,
    MAX_TEXT,
    MAX_VARIABLES,
    PromptTemplate,
    is_variable,
    parse,
)


def refused(template: PromptTemplate, values: dict[str, str]) -> tuple[str, str | None]:
    with pytest.raises(ApiError) as caught:
        template.render(values, "prompt.variables")
    return caught.value.code, caught.value.param


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("plain", []),
        ("", []),
        ("Hi {{name}}", ["name"]),
        ("{{ a }}{{b}}{{a}}", ["a", "b"]),
        ("{{_x1}}", ["_x1"]),
        ("{name} {{ name", []),
        ("}} {{", []),
        ("{{}} {{  }}", []),
        ("{{1a}} {{a-b}} {{a b}} {{a.b}} {{ü}}", []),
        ('{{"json": {"a": 1}}}', []),
        ("{{a\n}} {{\ta}}", []),
        ("{{{a}}}", ["a"]),
        ("{{{{a}}}}", ["a"]),
        ("{{a{{b}}", ["b"]),
        ("{{" + "x" * MAX_NAME + "}}", ["x" * MAX_NAME]),
        ("{{" + "x" * (MAX_NAME + 1) + "}}", []),
    ],
)
def test_only_a_name_between_double_braces_is_a_variable(text: str, names: list[str]) -> None:
    template = parse(text)
    assert template.variables == names
    assert template.render({name: "{{" + name + "}}" for name in names}, "v").replace(" ", "") == text.replace(" ", "")


def test_values_are_inserted_once() -> None:
    template = parse("{{a}} and {{b}}; {{a}}")
    assert template.render({"a": "{{b}}", "b": "{{a}}"}, "v") == "{{b}} and {{a}}; {{b}}"
    assert template.render({"a": "{{", "b": "b}}"}, "v") == "{{ and b}}; {{"
    assert parse("{{a}}{{b}}").render({"a": "", "b": ""}, "v") == ""


def test_each_variable_needs_a_value_and_each_value_a_variable() -> None:
    template = parse("{{a}} {{b}}")
    assert refused(template, {"a": "1"}) == ("missing_variable", "prompt.variables.b")
    assert refused(template, {"a": "1", "b": "2", "c": "3"}) == ("unknown_variable", "prompt.variables.c")
    assert refused(parse("none"), {"a": "1"}) == ("unknown_variable", "prompt.variables.a")


def test_values_that_no_prompt_may_have_are_named() -> None:
    template = parse("{{a}}")
    assert refused(template, {"a": "nul \0"}) == ("invalid_value", "prompt.variables.a")
    assert refused(template, {"a": "x" * (MAX_TEXT + 1)}) == ("too_long", "prompt.variables.a")
    assert template.render({"a": "x" * MAX_TEXT}, "v") == "x" * MAX_TEXT
    # What is no name of a variable is not repeated in the answer.
    assert refused(template, {"a": "1", "<script>": "2"}) == ("invalid_value", "prompt.variables")
    many = {f"v{n}": "" for n in range(MAX_VARIABLES + 1)}
    assert refused(parse("".join(f"{{{{{name}}}}}" for name in many)), many) == ("invalid_value", "prompt.variables")


def test_repeated_variables_do_not_make_gigabytes() -> None:
    template = parse("{{a}}" * (MAX_TEXT // 5))
    assert refused(template, {"a": "x" * MAX_TEXT}) == ("too_long", "prompt.variables")
    exact = MAX_RENDERED // len(template.places)
    assert len(template.render({"a": "x" * exact}, "v")) <= MAX_RENDERED
    assert refused(template, {"a": "x" * (exact + 1)}) == ("too_long", "prompt.variables")


def test_names_are_ascii() -> None:
    assert all(map(is_variable, ("a", "A", "_", "a1", "snake_case", "x" * MAX_NAME)))
    assert not any(map(is_variable, ("", "1", "a-b", "é", "a\u0660", " a", "x" * (MAX_NAME + 1))))


def test_a_template_keeps_every_other_character() -> None:
    random.seed(1)
    for _ in range(500):
        text = "".join(random.choice("{}ab_1 \n") for _ in range(random.randrange(40)))
        template = parse(text)
        # Spaces inside of the braces alone are lost.
        told = template.render({name: f"<{name}>" for name in template.variables}, "v")
        assert sorted(c for c in told if c == "\n") == sorted(c for c in text if c == "\n")
        assert len(template.texts) == len(template.places) + 1
        back = "".join(
            text if n == len(template.places) else text + "{{" + template.places[n] + "}}"
            for n, text in enumerate(template.texts)
        )
        assert parse(back) == template
