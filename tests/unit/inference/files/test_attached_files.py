"""Files in messages: what is read again, for whom, and how many at once."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from serving.assistants.spotlight import DATAMARK, Spotlight
from serving.assistants.unmarking import Unmarking
from serving.config import Limits
from serving.core.principal import Principal
from serving.inference.files import attached_files
from serving.inference.files.attached_files import AT_ONCE, AttachedFiles, FilesShownAgain

ANN = Principal("acme", "ann", "key_1", scopes=frozenset({"data:read"}))
OTHER = Principal("other", "ann", "key_2", scopes=frozenset({"data:read"}))


class Store:
    """Rows and contents of files: those whose ids end alike are the same. It counts the contents that are held."""

    def __init__(self) -> None:
        self.read_by: list[str] = []
        self.held = 0
        self.most = 0

    async def get(self, caller: Principal, id: str) -> Any:
        return SimpleNamespace(id=id, filename="a.txt", sha256=id[-1])

    async def read(self, caller: Principal, id: str) -> bytes:
        self.read_by.append(caller.tenant)
        self.held += 1
        self.most = max(self.most, self.held)
        await asyncio.sleep(0.001)
        return id.encode()

    def parsed(self, data: bytes, *_: Any) -> Any:
        self.held -= 1
        return SimpleNamespace(text=data.decode())


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    monkeypatch.setattr(attached_files, "parse_isolated", made.parsed)
    return made


@pytest.fixture
def attached(store: Store) -> AttachedFiles:
    return AttachedFiles(store, store, Limits())  # type: ignore[arg-type]


async def test_a_file_is_read_once_for_a_tenant(attached: AttachedFiles, store: Store) -> None:
    """Its content is not read to find that it is known, and no tenant can tell by time what another one read."""
    for caller, id in ((ANN, "file_1"), (ANN, "file_1"), (ANN, "copy_1"), (OTHER, "file_1"), (ANN, "file_2")):
        assert (await attached.read(caller, {"file_id": id}, "input")).file_name == "a.txt"
    assert store.read_by == ["acme", "other", "acme"]


async def test_queued_requests_hold_no_file_content(attached: AttachedFiles, store: Store) -> None:
    await asyncio.gather(*(attached.read(ANN, {"file_id": f"file_{n}"}, "input") for n in range(8)))
    assert (len(store.read_by), store.most) == (8, AT_ONCE)


async def test_a_file_in_the_request_is_hashed_in_a_thread(
    attached: AttachedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is remembered by its tenant, its name and its content."""
    threads, read, digest = [], [], attached_files._digest

    def hashed(text: str) -> str:
        threads.append(threading.current_thread())
        return digest(text)

    def parsed(data: bytes, name: str, *_: Any) -> Any:
        read.append((name, data))
        return SimpleNamespace(text=data.decode())

    monkeypatch.setattr(attached_files, "_digest", hashed)
    monkeypatch.setattr(attached_files, "parse_isolated", parsed)
    for caller, name, content in (
        (ANN, "a.txt", b"1"),
        (ANN, "a.txt", b"1"),
        (ANN, "b.txt", b"1"),
        (ANN, "a.txt", b"2"),
        (OTHER, "a.txt", b"1"),
    ):
        data = f"data:text/plain;base64,{base64.b64encode(content).decode()}"
        await attached.read(caller, {"file_data": data, "filename": name}, "input")
    assert read == [("a.txt", b"1"), ("b.txt", b"1"), ("a.txt", b"2"), ("a.txt", b"1")]
    assert threading.main_thread() not in threads


EXPLAINED = DATAMARK.format(mark="20240101", sign="¶")


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": EXPLAINED},
        {"role": "assistant", "content": f"It says: {EXPLAINED}"},
        {"role": "user", "content": [{"type": "text", "text": "Well."}, {"type": "text", "text": EXPLAINED}]},
        {"role": "tool", "tool_call_id": "c", "content": EXPLAINED},
    ],
    ids=["a user's", "an answer", "a part", "a tool's result"],
)
async def test_no_earlier_message_explains_marks(attached: AttachedFiles, message: dict[str, Any]) -> None:
    again = FilesShownAgain(attached)
    assert Unmarking.in_prompt([message]) is not None
    shown = await again.message(message)
    assert Unmarking.in_prompt([shown]) is None
    assert json.dumps(shown).lower() == json.dumps(message).lower()
    assert await again.message(shown) == shown


async def test_an_earlier_file_is_shown_between_marks_beside_text_that_explains_others(attached: AttachedFiles) -> None:
    file = {"file_id": "file_1"}
    marked = Spotlight("delimit", b"k").on("a.txt")
    again = FilesShownAgain(attached)
    again.show({await attached.digest(file): marked})
    content = [{"type": "text", "text": EXPLAINED}, {"type": "file", "file": file}]
    shown = await again.message({"role": "user", "content": content})
    assert shown["content"][1] == {"type": "text", "text": marked}
    assert Unmarking.in_prompt([shown]) == Unmarking.in_prompt([{"role": "user", "content": marked}]) is not None
    assert await again.message(shown) == shown


@pytest.mark.parametrize("message", [{"role": "assistant", "tool_calls": []}, {"role": "assistant", "content": None}])
async def test_an_earlier_message_without_text_stays_as_it_is(attached: AttachedFiles, message: dict[str, Any]) -> None:
    assert await FilesShownAgain(attached).message(message) == message
