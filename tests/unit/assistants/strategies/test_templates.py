"""Templates: what they may say is settled when they are configured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from serving.assistants.strategies import templates
from serving.config import Assistant, Strategy, Template

STRATEGY = TypeAdapter(Strategy)


def template(text, name="mine", version=1):
    return {"name": name, "version": version, "text": text}


@pytest.mark.parametrize(
    ("kind", "field", "text"),
    [
        ("cot", "cot_template", "no place"),
        ("cot", "cot_template", "{question} {question}"),
        ("cot", "cot_template", "{question} {tools}"),
        ("self_consistency", "cot_template", "{tools}"),
        ("pal", "pal_template", "{Question}"),
        ("react", "react_template", "{question}"),
        ("react_cot_sc", "react_template", "{tools} {question} {more}"),
        ("react_cot_sc", "cot_template", "{{question}}"),
        ("cot", "cot_template", "{question.__class__}"),
        ("cot", "cot_template", "{question[0]}"),
        ("cot", "cot_template", "{question!r}"),
        ("cot", "cot_template", "{question:>1000000000}"),
        ("cot", "cot_template", "{question"),
        ("cot", "cot_template", "{question} }"),
        ("cot", "cot_template", "{} {question}"),
        ("cot", "cot_template", ""),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused_at_once(kind, field, text):
    with pytest.raises(ValidationError) as caught:
        STRATEGY.validate_python({"kind": kind, field: template(text)})
    assert field in str(caught.value)


@pytest.mark.parametrize("wrong", [{"version": 0}, {"name": "A B"}, {"extra": 1}])
def test_a_template_has_a_name_and_a_version(wrong):
    with pytest.raises(ValidationError):
        Template(**(template("{question}") | wrong))


@pytest.mark.parametrize(
    ("kind", "field", "text"),
    [
        ("cot", "cot_template", templates.COT),
        ("pal", "pal_template", templates.PAL),
        ("react", "react_template", templates.REACT),
    ],
)
def test_built_in_templates_match_their_strategies(kind, field, text):
    assert getattr(STRATEGY.validate_python({"kind": kind, field: text}), field) == text


def test_the_question_is_wrapped_and_the_rest_stays():
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "new"},
    ]
    asked = templates.ask(Template(**template("{{{tools}}} <{question}> {{question}}")), messages, tools="{t}")
    assert asked[:3] == messages[:3]
    assert asked[3] == {"role": "user", "content": "{{t}} <new> {question}"}
    assert messages[3]["content"] == "new"


def test_images_keep_their_place_in_a_template():
    picture = {"type": "image_url", "image_url": {"url": "data:"}}
    (asked,) = templates.ask(Template(**template("a {question} b")), [{"role": "user", "content": [picture]}])
    assert asked["content"] == [{"type": "text", "text": "a "}, picture, {"type": "text", "text": " b"}]


def test_templates_require_a_question():
    with pytest.raises(ValueError, match="no question"):
        templates.ask(templates.COT, [{"role": "system", "content": "s"}])


@given(st.text(max_size=50), st.text(max_size=50), st.text(max_size=50))
def test_user_text_is_not_expanded_as_a_template(before, question, after):
    text = f"{before} {{q}} {after}".replace("{", "{{").replace("}", "}}") + "{question}"
    (asked,) = templates.ask(Template(**template(text)), [{"role": "user", "content": question}])
    assert asked["content"] == f"{before} {{q}} {after}{question}"


def test_an_assistants_tools_fit_its_strategy_and_knowledge():
    with pytest.raises(ValidationError, match="needs knowledge"):
        Assistant(name="a", model="m", tools=("retrieval",))
    with pytest.raises(ValidationError, match="named twice"):
        Assistant(name="a", model="m", tools=("time", "time"))
    with pytest.raises(ValidationError, match="needs tools"):
        Assistant(name="a", model="m", tools=(), strategy={"kind": "react"})
    with pytest.raises(ValidationError):
        Assistant(name="a", model="m", strategies=("nothing",))
    Assistant(name="a", model="m", knowledge=("docs",), tools=("retrieval",), strategy={"kind": "react"})
