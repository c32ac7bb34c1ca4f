"""How much of a batch's answers is held at once."""

from __future__ import annotations

import pytest

from serving.core.principal import Principal
from serving.store.background import batches as stored
from serving.store.background.batches import Batches, Line
from serving.store.jobs.queue import Jobs
from serving.store.relational.database import Database


async def test_answers_are_read_by_their_size(
    database: Database, jobs: Jobs, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "CHARACTERS_TOGETHER", 10)
    monkeypatch.setattr(stored, "READ_TOGETHER", 3)
    batches = Batches(database, jobs)
    batch = await batches.create(
        alice, caller={}, endpoint="/v1/embeddings", input_file_id="file-1", lasts_s=60, metadata=None
    )
    for number, length in enumerate((6, 4, 1, 20, 11, 1, 1, 1, 1), start=1):
        await batches.answer(batch, Line(number, "req", 200, f'"{"x" * (length - 2)}"' if length > 1 else "1"), 0)
    pages: list[list[int]] = []
    while page := await batches.lines(batch.id, after=pages[-1][-1] if pages else 0):
        pages.append([line.number for line in page])
    assert pages == [[1, 2], [3], [4], [5], [6, 7, 8], [9]]
