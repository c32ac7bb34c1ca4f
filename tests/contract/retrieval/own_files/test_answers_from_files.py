"""Files attached to a question, and the assistant that a stack has by default: the packaged model, which quotes.

No model runs here: an answer that asked one would fail.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.config import DOCS, SMOLLM2
from serving.config import Catalog
from serving.retrieval.replica import RetrievalReplica
from tests.contract.retrieval.own_files.files import FILES
from tests.contract.retrieval.own_files.questions import OF_THE_DOCUMENTATION, QUESTIONS, UNKNOWN, Question
from tests.contract.routes.whole import Retrieval, client
from tests.contract.running import Loop, gateway
from tests.wait import eventually

PAGES = ("rotate-the-api-key", "conversations", "budgets", "webhooks", "add-an-assistant", "share-documents")
"""The assistant's own documents: a part of the documentation."""

HOW_TO = Path(__file__).parents[4] / "docs" / "how-to"


@dataclass(frozen=True)
class World:
    http: httpx.Client
    ids: dict[str, str]

    def part(self, name: str, *, inline: bool = False) -> dict[str, Any]:
        if inline:
            data = base64.b64encode(FILES[name]).decode()
            return {"type": "file", "file": {"filename": name, "file_data": data}}
        return {"type": "file", "file": {"file_id": self.ids[name]}}

    def ask(self, text: str, *parts: dict[str, Any], **more: Any) -> dict[str, Any]:
        content = [*parts, {"type": "text", "text": text}]
        body = {"model": DOCS.name, "messages": [{"role": "user", "content": content}], **more}
        answer = self.http.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        message: dict[str, Any] = answer.json()["choices"][0]["message"]
        return message


def cited(message: dict[str, Any]) -> list[str]:
    return [each["file_name"] for each in message["headrace"]["citations"]]


def right(question: Question, message: dict[str, Any]) -> bool:
    """Whether an answer begins with a quote of the file, and quotes what is right from the right page."""
    found = [each for each in message["headrace"]["citations"] if question.expected in " ".join(each["quote"].split())]
    pages = [each["position"]["page"] for each in found if each["file_name"] == question.file]
    return cited(message)[:1] == [question.file] and question.page in pages


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    retrieval = Retrieval()
    catalog = Catalog(models=(SMOLLM2,), assistants=(DOCS,))
    with Loop() as loop, gateway(loop, tmp_path_factory.mktemp("own-files"), catalog, retrieval=retrieval) as up:
        retrieval.replica = RetrievalReplica(up.services.config)
        loop.do(retrieval.replica.start())
        with client(up) as http:

            def upload(name: str, data: bytes, purpose: str) -> str:
                sent = http.post("/v1/files", data={"purpose": purpose}, files={"file": (name, data)})
                return str(sent.json()["id"])

            pages = [upload(f"{page}.md", (HOW_TO / f"{page}.md").read_bytes(), "assistants") for page in PAGES]
            store = http.post("/v1/vector_stores", json={"name": "docs", "file_ids": pages}).json()["id"]
            eventually(lambda: http.get(f"/v1/vector_stores/{store}").json()["status"] == "completed", "all is indexed")
            yield World(http, {name: upload(name, data, "user_data") for name, data in FILES.items()})
        loop.do(retrieval.replica._database.close())


def test_questions_about_one_file_are_answered_from_it(world: World) -> None:
    wrong = {}
    for question in QUESTIONS:
        message = world.ask(question.text, world.part(question.file))
        if not right(question, message):
            wrong[question.text] = message["content"]
    assert len(wrong) <= 2, wrong


def test_questions_about_all_ten_files_are_answered_from_the_right_one(world: World) -> None:
    """In one conversation, which was given the files with its first question."""
    talk = world.http.post("/v1/conversations", json={}).json()["id"]
    parts = [world.part(name) for name in FILES]
    wrong = {}
    for question in QUESTIONS:
        message = world.ask(question.text, *parts, conversation=talk)
        parts = []
        if not right(question, message):
            wrong[question.text] = message["content"]
    assert len(wrong) <= 2, wrong


@pytest.mark.parametrize("name", ["kennel.md", "loom.md", "lease.pdf"])
def test_other_questions_are_answered_as_without_files(world: World, name: str) -> None:
    message = world.ask(OF_THE_DOCUMENTATION, world.part(name))
    assert message == world.ask(OF_THE_DOCUMENTATION)
    assert cited(message)[0] == "rotate-the-api-key.md"
    assert world.ask(UNKNOWN, world.part(name))["content"] == DOCS.refusal


def test_files_in_the_request_itself_are_quoted_without_an_address(world: World) -> None:
    question = QUESTIONS[0]
    message = world.ask(question.text, world.part(question.file, inline=True))
    assert right(question, message)
    assert message["annotations"][0]["url_citation"]["url"] == "attachment:kennel.md"
    assert message["headrace"]["citations"][0]["file_id"] == ""


@pytest.mark.parametrize("inline", [False, True], ids=["by id", "inline"])
def test_responses_and_what_follows_them_are_answered_from_files(world: World, inline: bool) -> None:
    first, second = QUESTIONS[4:6]
    file = world.part(first.file, inline=inline)["file"]
    content = [{"type": "input_file", **file}, {"type": "input_text", "text": first.text}]
    asked = {"model": DOCS.name, "input": [{"role": "user", "content": content}]}
    answer = world.http.post("/v1/responses", json=asked).json()
    assert first.expected in answer["output"][0]["content"][0]["text"], answer
    then = {"model": DOCS.name, "input": second.text, "previous_response_id": answer["id"]}
    [message] = world.http.post("/v1/responses", json=then).json()["output"]
    assert second.expected in message["content"][0]["text"], message
    assert message["content"][0]["annotations"][0]["title"] == second.file


def test_a_message_of_anthropics_api_is_answered_from_its_document(world: World) -> None:
    question = QUESTIONS[8]
    data = base64.b64encode(FILES[question.file]).decode()
    source = {"type": "base64", "media_type": "application/pdf", "data": data}
    content = [{"type": "document", "source": source, "title": question.file}, {"type": "text", "text": question.text}]
    body = {"model": DOCS.name, "max_tokens": 200, "messages": [{"role": "user", "content": content}]}
    answer = world.http.post("/v1/messages", json=body)
    assert question.expected in answer.json()["content"][0]["text"], answer.text


def test_a_file_that_was_deleted_is_named_by_its_message_and_does_not_end_a_conversation(world: World) -> None:
    sent = world.http.post(
        "/v1/files", data={"purpose": "user_data"}, files={"file": ("pets.txt", b"The cat is Mimi.")}
    )
    id, talk = sent.json()["id"], world.http.post("/v1/conversations", json={}).json()["id"]
    part = {"type": "file", "file": {"file_id": id}}
    assert "Mimi" in world.ask("What is the name of the cat?", part, conversation=talk)["content"]
    world.http.delete(f"/v1/files/{id}").raise_for_status()
    assert world.ask("What is the name of the cat?", conversation=talk)["content"] == DOCS.refusal
    content = [part, {"type": "text", "text": "What is the name of the cat?"}]
    again = world.http.post(
        "/v1/chat/completions", json={"model": "docs", "messages": [{"role": "user", "content": content}]}
    )
    assert (again.status_code, again.json()["error"]["code"]) == (404, "not_found")
