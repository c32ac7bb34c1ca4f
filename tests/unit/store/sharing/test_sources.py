"""From which item on the answers of a share are withheld."""

from __future__ import annotations

from typing import Any

import pytest

from serving.store.conversations import Item
from serving.store.sharing import sources
from serving.store.sharing.sources import ASSISTANT, DETAIL, MODEL, OWN, Sources, answerer


def message(role: str, *parts: dict[str, Any], made: Any = None, **more: Any) -> tuple[dict[str, Any], Any]:
    return {"type": "message", "role": role, "content": list(parts), **more}, made


M = answerer(MODEL, "m")
DOCS = answerer(ASSISTANT, "docs")

TEXT = {"type": "input_text", "text": "How deep?"}
ASKED = message("user", TEXT)
PLAIN = message("assistant", {"type": "output_text", "text": "Deep."}, made={DETAIL: {"files": [], "answerers": [M]}})


def answer(*files: str, by: str = M) -> tuple[dict[str, Any], Any]:
    return PLAIN[0], {DETAIL: {"files": list(files), "answerers": [by]}}


def read(*items: tuple[dict[str, Any], Any], seqs: list[int] | None = None) -> Sources:
    found = Sources()
    for seq, (body, details) in zip(seqs or range(1, len(items) + 1), items, strict=True):
        found.add(Item(f"msg_{seq}", "conv_1", seq, "acme", 1, body, 0.0, None, details))
    return found


def test_nothing_is_withheld_of_answers_without_sources() -> None:
    found = read(ASKED, PLAIN, ASKED, PLAIN)
    assert found.withheld_from((), (), (M,)) is None
    assert found.last_seq == 4
    assert found.stored() == {"files": {}, "attached": {}, "answerers": {M: 2}, "unknown": None}


def test_a_source_counts_from_the_first_answer_that_had_it() -> None:
    found = read(ASKED, answer("file-1"), ASKED, answer("file-2", by=DOCS), ASKED, answer("file-1"), ASKED, PLAIN)
    everything = {"file-1", "file-2"}
    assert found.withheld_from(everything, (), {M, DOCS}) is None
    assert found.withheld_from(everything, (), {M}) == 4
    assert found.withheld_from({"file-1"}, (), {M, DOCS}) == 4
    assert found.withheld_from({"file-2"}, (), {M, DOCS}) == 2, "later answers may repeat the first"
    assert found.withheld_from((), everything, {M, DOCS}) == 2, "to be attached is not to be found"
    assert Sources(**found.stored()).withheld_from({"file-1"}, (), {M, DOCS}) == 4


def test_a_name_of_one_kind_is_none_of_another() -> None:
    ids = "asst_1", "docs"
    found = read(*[answer(by=answerer(kind, id)) for kind in (OWN, ASSISTANT, MODEL) for id in ids])
    assert [found.of_kind(kind) for kind in (OWN, ASSISTANT, MODEL)] == [list(ids)] * 3
    assert found.withheld_from((), (), [answerer(OWN, id) for id in ids]) == 3


@pytest.mark.parametrize(
    "item",
    [
        (PLAIN[0], None),
        (PLAIN[0], {}),
        (PLAIN[0], {"model": "m", "retrieved": 0}),
        (PLAIN[0], {DETAIL: None}),
        (PLAIN[0], {DETAIL: {"files": []}}),
        (PLAIN[0], {DETAIL: {"files": [], "answerers": []}}),
        message("user", TEXT, {"type": "input_image", "image_url": "data:image/png;base64,AA=="}),
        message("user", {"type": "input_audio", "input_audio": {}}),
        message("user", {"type": "input_file", "file_data": "AA==", "filename": "a.txt"}),
        message("user", {"type": "input_file", "file_id": "file-1", "file_data": "AA=="}),
        message("system", TEXT),
        message("developer", TEXT),
        ({"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}, None),
        ({"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}, PLAIN[1]),
        ({"type": "function_call_output", "call_id": "c", "output": "secret"}, None),
        ({"type": "of a later release"}, None),
    ],
)
def test_what_has_unknown_sources_withholds_all_answers_after_it(item: tuple[dict[str, Any], Any]) -> None:
    assert read(ASKED, PLAIN, item, ASKED, PLAIN).withheld_from(("file-1",), ("file-1",), (M,)) == 3


def test_a_file_that_a_question_attaches_is_a_source() -> None:
    found = read(ASKED, message("user", {"type": "input_file", "file_id": "file-1"}, TEXT), PLAIN)
    assert (found.withheld_from((), {"file-1"}, (M,)), found.withheld_from({"file-1"}, (), (M,))) == (None, 2)


@pytest.mark.parametrize("seqs", [[2, 3, 4], [1, 2, 4], [1, 3, 4]])
def test_answers_after_a_deleted_item_are_withheld(seqs: list[int]) -> None:
    gap = next(seq for n, seq in enumerate(seqs, 1) if seq != n)
    assert read(ASKED, PLAIN, PLAIN, seqs=seqs).withheld_from((), (), (M,)) == gap


def test_more_sources_than_are_kept_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_FILES", 2)
    found = read(answer("a"), answer("a", "b"), answer("c"), answer("d"))
    assert found.withheld_from({"a", "b", "c", "d"}, (), (M,)) == 3
    assert "d" not in found.files
    monkeypatch.setattr(sources, "MAX_ANSWERERS", 1)
    assert read(answer(by="a:a"), answer(by="a:b")).withheld_from((), (), {"a:a", "a:b"}) == 2
