"""Rules on a text and on the arguments of a call."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.config import (
    Alias,
    Assistant,
    Catalog,
    ClassifierGuardrail,
    LinksGuardrail,
    LlamaCppModel,
    Lora,
    RemoteModel,
    SecretsGuardrail,
    Target,
    TopicsGuardrail,
    VllmModel,
)
from serving.guardrails.rails import AssistantRails, build
from serving.guardrails.rules.finding import Finding
from serving.guardrails.rules.words import Words
from serving.guardrails.screen import MAX_FOUND, Rule, screen, screen_arguments


class Spans:
    """Finds what it is told."""

    def __init__(self, *spans):
        self.spans = spans

    def find(self, text, start=0):
        return [Finding(a, b, "x") for a, b in self.spans if a >= start]


def test_overlapping_findings_leave_one_note():
    rules = (Rule("a", "redact", Spans((2, 5))), Rule("b", "redact", Spans((4, 8))), Rule("c", "flag", Spans((0, 9))))
    assert screen("0123456789", rules).text == "01[removed: x]89"


def test_blocking_findings_truncate_the_text():
    rules = (Rule("a", "redact", Spans((2, 4), (7, 8))), Rule("b", "block", Spans((5, 6))))
    result = screen("0123456789", rules)
    assert (result.text, result.blocked) == ("01[removed: x]4", True)


def test_all_findings_are_redacted():
    n = MAX_FOUND + 50
    spans = [(i, i + 1) for i in range(0, 2 * n, 2)]
    result = screen("ab" * n, (Rule("a", "redact", Spans(*reversed(spans))),))
    assert len(result.found) == MAX_FOUND
    assert "a" not in result.text.replace("[removed: x]", "")
    assert result.text.endswith("b")


@given(
    spans=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)).map(lambda s: (s[0], min(s[0] + s[1], 30)))),
    text=st.text("abc", min_size=31, max_size=31),
)
def test_every_character_is_kept_or_redacted(spans, text):
    spans = [s for s in spans if s[0] < s[1]]
    taken = {i for a, b in spans for i in range(a, b)}
    kept = "".join(c for i, c in enumerate(text) if i not in taken)
    assert screen(text, (Rule("a", "redact", Spans(*spans)),)).text.replace("[removed: x]", "") == kept


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_arguments_without_findings_stay_as_they_are(document):
    arguments = json.dumps(document)
    assert screen_arguments(arguments, (Rule("w", "redact", Words(("bluebird",))),)).text == arguments


@pytest.mark.parametrize("arguments", ["{not json", '"bluebird"', '{"a": ["bluebird", {"bluebird": 1}]}', "bluebird"])
def test_arguments_are_clean_and_json_stays_json(arguments):
    clean = screen_arguments(arguments, (Rule("w", "redact", Words(("bluebird",))),)).text
    assert "bluebird" not in clean
    if arguments[0] in '{"' and arguments != "{not json":
        json.loads(clean)


def test_an_assistants_own_guardrails_replace_the_stacks():
    model = LlamaCppModel(name="m", source="file:///m.gguf")
    assistants = (
        Assistant(name="own", model="m", guardrails=(TopicsGuardrail(words=("x",)),)),
        Assistant(name="free", model="m", guardrails=()),
        Assistant(name="default", model="m"),
    )
    catalog = Catalog(models=(model,), assistants=assistants, guardrails=(SecretsGuardrail(),))
    rails = AssistantRails(catalog)
    own, free, default = (rails.for_assistant(a) for a in assistants)
    assert own is not None
    assert [r.name for r in own.input.rules] == ["topics"]
    assert not own.output
    assert free is None
    assert default is not None
    assert default == rails.for_assistant(None)


def test_only_what_a_model_reads_names_the_version():
    def version(*guardrails):
        rails = build(guardrails)
        assert rails is not None
        return rails.version

    own = version(SecretsGuardrail(on=("input", "context")))
    assert version(SecretsGuardrail(on=("output", "context", "input")), LinksGuardrail(max_data=1)) == own
    others = (
        SecretsGuardrail(on=("input",)),
        SecretsGuardrail(action="block"),
        TopicsGuardrail(words=("x",)),
        TopicsGuardrail(words=("y",)),
    )
    assert len({own, *map(version, others)}) == 1 + len(others)


def test_the_model_behind_a_classifiers_alias_names_the_version():
    def version(target="a", weight=1, on=("input",), **change):
        models = (
            RemoteModel(**({"name": "a", "url": "http://127.0.0.1:1/v1"} | change)),
            LlamaCppModel(name="b", source="file:///b.gguf"),
        )
        gpu = VllmModel(name="v", source="hf://o/v@1", loras=(Lora(name="l", source="file:///l"),))
        alias = Alias(name="safety", targets=(Target(model=target), Target(model="b", weight=weight)))
        guardrails = (ClassifierGuardrail(model="safety", on=on), SecretsGuardrail())
        rails = AssistantRails(Catalog(models=(*models, gpu), aliases=(alias,), guardrails=guardrails)).for_assistant(
            None
        )
        assert rails is not None
        return rails.version

    same = version()
    assert version(weight=9) == version(max_in_flight=1) == same
    others = [version("b"), version("v"), version("l"), version(model="other"), version(url="http://127.0.0.1:2/v1")]
    assert len({same, *others}) == 1 + len(others)
    assert version(on=("output",)) == version("b", on=("output",))  # a model reads nothing that it judges
