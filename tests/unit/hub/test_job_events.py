"""The events of a job as callers see them, from its log."""

from __future__ import annotations

import pytest

from serving.hub.jobs import tuning


async def chunks(*parts):
    for part in parts:
        yield part


async def test_a_line_that_a_killed_process_left_is_skipped():
    log = (b'{"event": "step", "st', b'ep": 1}\n{"event": "st{"event": "stage"}\n', b'{"event": "done"}\n{"ev')
    found = await tuning.newest_events(chunks(*log))
    assert found == [(0, {"event": "step", "step": 1}), (2, {"event": "done"})]


async def test_only_the_newest_events_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tuning, "MAX_EVENTS", 2)
    found = await tuning.newest_events(chunks(b'{"n": 0}\n{"n": 1}\n', b'{"n": 2}\n'))
    assert found == [(1, {"n": 1}), (2, {"n": 2})]
