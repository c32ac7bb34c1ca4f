from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.assistants import items
from serving.protocol.conversations import ConversationItemsRequest

CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
TEXT = {"type": "text", "text": "see"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}
FILE = {"type": "file", "file": {"file_id": "file-1", "filename": "a.pdf"}}

TURNS = st.lists(
    st.one_of(
        st.builds(lambda t: {"role": "user", "content": t}, st.text(min_size=1)),
        st.builds(lambda t: {"role": "assistant", "content": t}, st.text(min_size=1)),
        st.just({"role": "user", "content": [TEXT, IMAGE, AUDIO, FILE]}),
        st.just({"role": "user", "content": [TEXT, TEXT]}),
        st.just({"role": "assistant", "content": "hm", "tool_calls": [CALL, CALL]}),
        st.just({"role": "tool", "tool_call_id": "c1", "content": "a cat"}),
        st.just({"role": "tool", "tool_call_id": "c1", "content": [TEXT, TEXT]}),
    )
)


@given(TURNS)
def test_messages_come_back_as_they_were(conversation):
    bodies = items.bodies(conversation)
    assert items.messages(bodies) == conversation
    if bodies:  # and they are items that the API takes
        given = ConversationItemsRequest.model_validate({"items": bodies[:20]})
        assert [item.model_dump(exclude_none=True) for item in given.items] == bodies[:20]


def test_a_call_without_words():
    message = {"role": "assistant", "tool_calls": [CALL]}
    [body] = items.bodies([message])
    assert body["type"] == "function_call"
    assert items.messages([body]) == [message]


def test_instructions_are_not_kept():
    assert items.bodies([{"role": "system", "content": "s"}, {"role": "developer", "content": "d"}]) == []


def test_an_answer_keeps_its_citations_and_its_status():
    cited = {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 2, "title": "t", "url": "/u"}}
    message = {"role": "assistant", "content": "hi", "annotations": [cited], "refusal": "no"}
    [body] = items.bodies([message], status="incomplete")
    assert body["status"] == "incomplete"
    text, refusal = body["content"]
    assert text["annotations"] == [
        {"type": "url_citation", "start_index": 0, "end_index": 2, "title": "t", "url": "/u"}
    ]
    assert refusal == {"type": "refusal", "refusal": "no"}


def test_an_empty_answer_is_kept_as_one():
    [body] = items.bodies([{"role": "assistant", "content": ""}])
    assert body["content"] == []
    assert items.messages([body]) == [{"role": "assistant", "content": ""}]


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        ({"type": "refusal", "refusal": "No."}, "No."),
        (
            {"type": "input_image", "file_id": "file-1", "detail": "auto"},
            [{"type": "file", "file": {"file_id": "file-1"}}],
        ),
    ],
)
def test_parts_that_only_items_have(part, shown):
    body = {"type": "message", "role": "developer", "content": [part]}
    assert items.messages([body]) == [{"role": "system", "content": shown}]
