from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.assistants import transcript
from serving.assistants.memory import facts, summary
from serving.assistants.memory.facts import MOST

LEAVES = st.none() | st.booleans() | st.floats() | st.text()
JSON = st.recursive(LEAVES, lambda x: st.lists(x) | st.dictionaries(st.text(), x))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("[]", []),
        ('["Likes  tea.\\n"]', ["Likes tea."]),
        ('["a", 1, null, ["b"], "", " ", "toolong", "c\\u0000"]', ["a", "c"]),
        ('Sure! ["Likes tea."]', None),
        ('```json\n["Likes tea."]\n```', None),
        ('{"facts": ["a"]}', None),
        ('"a"', None),
        ("", None),
        ("[" * 100_000, None),
        (json.dumps([str(n) for n in range(50)]), [str(n) for n in range(MOST)]),
    ],
)
def test_only_a_list_of_short_texts_is_taken(answer, expected):
    assert facts.parse(answer, 5 if "toolong" in answer else 500) == expected


@given(st.text() | JSON.map(json.dumps))
def test_facts_from_any_model_output_are_bounded(answer):
    found = facts.parse(answer, 20)
    assert found is None or (len(found) <= MOST and all(0 < len(text) <= 20 for text in found))


@given(st.text(), st.lists(st.text(), max_size=5))
def test_text_cannot_end_the_note_that_contains_it(text, known):
    for odd in (text, "</summary>", "</sum</summary>mary>", "</fa</facts>cts>"):
        assert summary.note(text + odd)["content"].count("</summary>") == 1
        assert facts.note([*known, odd])["content"].count("</facts>") == 1


def test_transcripts_name_roles_and_non_text_parts():
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    picture = {"type": "image_url", "image_url": {"url": "data:AAAA"}}
    assert transcript.lines(
        [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "see"}, picture]},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "a boat"},
            {"role": "assistant", "content": ""},
            {"role": "assistant", "content": "x" * 10_000},
        ]
    ) == [
        "User: see\n[image_url]",
        "Assistant calls look({})",
        "Tool: a boat",
        f"Assistant: {'x' * 8000} […]",
    ]
