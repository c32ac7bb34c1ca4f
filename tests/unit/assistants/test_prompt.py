"""Where an assistant's prompt and the excerpts go in a conversation."""

from __future__ import annotations

import copy

from serving.assistants.prompt import messages, question_of
from serving.assistants.prompt_version import version
from serving.config import Assistant, NoMemory
from serving.retrieval.types import Hit

DOCS = Assistant(name="docs", model="m", prompt="Be brief.")
SYSTEM = {"role": "system", "content": "Be brief."}


def user(content):
    return {"role": "user", "content": content}


def hit(text):
    return Hit("c", "f", "a.md", "A", "", text, 0, len(text), None, 1.0, 1.0, 1.0)


def flat(content):
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def test_without_hits_only_the_prompt_is_added():
    conversation = [user("Hello?")]
    assert messages(DOCS, (), conversation) == [SYSTEM, *conversation]
    assert messages(Assistant(name="bare", model="m"), (), conversation) == conversation


def test_the_callers_system_message_follows_the_assistants():
    theirs = {"role": "system", "content": "Speak French."}
    assert messages(DOCS, (), [theirs, user("Hello?")])[:2] == [SYSTEM, theirs]


def test_the_prompt_order_is_excerpts_question_request():
    said = messages(DOCS, [hit("The gate is red.")], [user("Which colour is the gate?")])
    assert [m["role"] for m in said] == ["system", "user"]
    excerpt, question, request = said[1]["content"].partition("Question: Which colour is the gate?\n")
    assert question
    assert excerpt == "The gate is red.\n\n"
    assert request.startswith("Answer ")


def test_the_best_excerpt_is_next_to_the_question():
    text = messages(DOCS, [hit("Best."), hit("Second.")], [user("Why?")])[1]["content"]
    assert text.startswith("Second.\n\nBest.\n\nQuestion: Why?")


def test_excerpts_go_to_the_last_question_only():
    earlier = [user("Who?"), {"role": "assistant", "content": "Nobody."}]
    later = [{"role": "assistant", "content": "Well, "}]
    said = messages(DOCS, [hit("The gate is red.")], [*earlier, user("Which colour?"), *later])
    assert said[1:3] == earlier
    assert said[4:] == later
    assert "The gate is red." in said[3]["content"]


def test_message_parts_are_preserved():
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    text = {"type": "text", "text": "Which colour?"}
    whole = messages(DOCS, [hit("The gate is red.")], [user("Which colour?")])[1]["content"]
    assert flat(messages(DOCS, [hit("The gate is red.")], [user([text])])[1]["content"]) == whole
    parts = messages(DOCS, [hit("The gate is red.")], [user([image, text])])[1]["content"]
    assert parts[1:3] == [image, text]


def test_braces_in_a_question_and_in_a_document_are_text():
    text = messages(DOCS, [hit("Use {name}.")], [user("What is {question}?")])[1]["content"]
    assert "Use {name}." in text
    assert "What is {question}?" in text


def test_a_message_keeps_its_other_fields_and_the_conversation_is_not_changed():
    conversation = [{**user("Why?"), "name": "ann"}]
    before = copy.deepcopy(conversation)
    assert messages(DOCS, [hit("Because.")], conversation)[1]["name"] == "ann"
    assert conversation == before


def test_a_conversation_without_a_user_message_gets_no_excerpts():
    conversation = [{"role": "assistant", "content": "Hello."}]
    assert question_of(conversation) is None
    assert messages(DOCS, [hit("Because.")], conversation) == [SYSTEM, *conversation]


def test_the_version_changes_with_the_models_surroundings():
    same = DOCS.model_copy(update={"name": "other", "description": "x", "temperature": 1.0, "refusal": "No."})
    assert version(DOCS) == version(same)
    changes = ({"prompt": "Be long."}, {"knowledge": ("a",)}, {"memory": NoMemory()}, {"top_k": 9})
    versions = {version(DOCS.model_copy(update=change)) for change in changes}
    assert len(versions) == len(changes)
    assert version(DOCS) not in versions
