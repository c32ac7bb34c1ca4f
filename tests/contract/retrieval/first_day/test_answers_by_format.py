"""A developer's first day with the unmodified client: own documents in five formats, and questions about them.

The packaged model quotes by default, so what is judged is what is read of documents, found and quoted. No model runs
here: a question that asked one would fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from serving.config import Catalog
from serving.retrieval.replica import RetrievalReplica
from tests.contract.retrieval.first_day.formats import FORMATS, markdown
from tests.contract.retrieval.first_day.questions import FRESH, QUESTIONS, Question
from tests.contract.retrieval.first_day.subject import SOURCES, Source
from tests.contract.routes.whole import SMALL, Retrieval
from tests.contract.running import Loop, gateway
from tests.unit.retrieval.tables.documents import not_found
from tests.wait import eventually

NOTHING = "I found nothing about this in the documents that I can read."


@dataclass(frozen=True)
class Developer:
    sdk: openai.OpenAI

    def upload(self, turn: int) -> tuple[str, dict[str, Source]]:
        """Uploads each document in one format into a new store, and another format for each `turn`.

        Returns the store's id, and the documents by the ids of their files.
        """
        names = list(FORMATS)
        sources = {}
        for number, source in enumerate(SOURCES):
            format = names[(number + turn) % len(names)]
            made = (f"{source.name}.{format}", FORMATS[format](source))
            sources[self.sdk.files.create(file=made, purpose="assistants").id] = source
        store = self.sdk.vector_stores.create(name=f"halmere {turn}", file_ids=list(sources)).id
        eventually(lambda: self.sdk.vector_stores.retrieve(store).status == "completed", "all files are ingested")
        return store, sources

    def chunks(self, store: str, file: str) -> list[str]:
        path = f"/vector_stores/{store}/files/{file}/chunks?limit=100"
        page: Any = self.sdk.get(path, cast_to=object)
        assert not page["has_more"]
        return [chunk["text"] for chunk in page["data"]]

    def extraction(self, store: str, file: str) -> dict[str, int]:
        state: Any = self.sdk.vector_stores.files.retrieve(file, vector_store_id=store)
        counted: dict[str, int] = state.headrace["extraction"]
        return counted

    def answer(self, store: str, question: str) -> str:
        tool: Any = {"type": "file_search", "vector_store_ids": [store]}
        return self.sdk.responses.create(model=SMALL.name, input=question, tools=[tool]).output_text


def verdict(question: Question, answer: str) -> str:
    """Returns `right`, `refused` or `wrong`; a refusal of what no document says is right."""
    if answer == NOTHING:
        return "right" if question.expected is None else "refused"
    found = question.expected is not None and question.expected in " ".join(answer.split())  # pages divide lines
    return "right" if found else "wrong"


@pytest.fixture(scope="module")
def developer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Developer]:
    retrieval = Retrieval()
    folder = tmp_path_factory.mktemp("first-day")
    with Loop() as loop, gateway(loop, folder, Catalog(models=(SMALL,)), retrieval=retrieval) as up:
        retrieval.replica = RetrievalReplica(up.services.config)
        loop.do(retrieval.replica.start())
        with up.sdk() as sdk:
            yield Developer(sdk)
        loop.do(retrieval.replica._database.close())


LATER = [pytest.param(turn, marks=pytest.mark.full) for turn in range(1, len(FORMATS))]


@pytest.mark.parametrize("turn", [0, *LATER])
def test_answers_are_right_or_refused_and_no_cell_is_lost(developer: Developer, turn: int) -> None:
    store, sources = developer.upload(turn)
    lost = {}
    for file, source in sources.items():
        read = developer.extraction(store, file)
        assert read["characters"] == read["characters_in_chunks"], source.name
        chunks = developer.chunks(store, file)
        lost |= {tuple(table.header): cells for table in source.tables if (cells := not_found(table, chunks))}
    assert lost == {}
    for questions in (QUESTIONS, FRESH):
        verdicts = {question.text: verdict(question, developer.answer(store, question.text)) for question in questions}
        counted = Counter(verdicts.values())
        assert counted["wrong"] <= 1, verdicts
        assert 3 * counted["right"] >= 2 * len(questions), verdicts  # else refusing everything would do


def test_each_expected_answer_stands_in_one_place() -> None:
    """Else an answer could be taken for right because of another passage."""
    texts = [" ".join(markdown(source).decode().split()) for source in SOURCES]
    for question in (*QUESTIONS, *FRESH):
        if question.expected is not None and ": " not in question.expected:
            assert sum(text.count(question.expected) for text in texts) == 1, question.expected
