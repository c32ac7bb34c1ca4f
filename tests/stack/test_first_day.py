"""A developer's first day: documents in five formats, an unmodified client, and questions of a company's staff."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import openai
import pytest

from tests.stacks.first_day import QUESTIONS, TABLES, documents
from tests.stacks.stack import Stack
from tests.unit.retrieval.tables.documents import not_found
from tests.wait import eventually

pytestmark = pytest.mark.full

RIGHT = 11
"""Of twelve questions: so many are answered rightly, or refused where no document has an answer."""


@dataclass(frozen=True)
class Day:
    """A vector store with all documents, whose ids are in `files` by their names."""

    sdk: openai.OpenAI
    store: str
    files: dict[str, str]


@pytest.fixture(scope="module")
def day(stack: Stack) -> Iterator[Day]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0) as sdk:
        store = sdk.vector_stores.create(name="ferries").id
        files = dict[str, str]()
        try:
            for name, content in documents().items():
                files[name] = sdk.files.create(file=(name, content), purpose="assistants").id
                sdk.vector_stores.files.create(store, file_id=files[name])

            def ingested() -> bool:
                return all(file.status == "completed" for file in sdk.vector_stores.files.list(store))

            eventually(ingested, "all documents are ingested", 120)
            yield Day(sdk, store, files)
        finally:
            for file in files.values():
                sdk.files.delete(file)
            sdk.vector_stores.delete(store)


@pytest.mark.parametrize("name", TABLES)
def test_each_cell_of_each_table_is_in_a_chunk_with_its_column(day: Day, name: str) -> None:
    path = f"/vector_stores/{day.store}/files/{day.files[name]}/chunks"
    chunks = [chunk["text"] for chunk in day.sdk.get(path, cast_to=dict)["data"]]
    assert chunks
    assert [cell for known in TABLES[name] for cell in not_found(known, chunks)] == []


def test_questions_are_answered_rightly_or_refused(day: Day) -> None:
    wrong = []
    for question in QUESTIONS:
        tool = {"type": "file_search", "vector_store_ids": [day.store]}
        answer = day.sdk.responses.create(model="smollm2", input=question.text, tools=[tool]).output_text  # type: ignore[list-item]
        refused = answer.startswith("I found nothing")
        if not (refused if question.answer is None else refused or question.answer in answer):
            wrong.append(f"{question.text}\n{answer}")
    assert len(QUESTIONS) - len(wrong) >= RIGHT, "\n\n".join(wrong)
