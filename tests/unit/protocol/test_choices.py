"""Choices as callers see them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.protocol.choices import complete_choice

some = st.dictionaries(st.sampled_from(["role", "content", "refusal", "annotations", "tool_calls", "x"]), st.text())
ALWAYS = {"logprobs": None, "message": {"refusal": None, "annotations": []}}


@given(message=some, beside=st.dictionaries(st.sampled_from(["index", "finish_reason", "logprobs", "x"]), st.text()))
def test_engine_choices_are_completed_not_changed(message, beside):
    choice = complete_choice({**beside, "message": message})
    assert choice == {"logprobs": None, **beside, "message": {"refusal": None, "annotations": [], **message}}
    assert choice["message"].keys() >= ALWAYS["message"].keys()


def test_a_choice_without_a_message_is_completed():
    assert complete_choice({}) == complete_choice({"message": None}) == ALWAYS
