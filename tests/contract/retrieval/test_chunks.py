"""The chunks of a file over HTTP, and how much of its text they contain, with a real index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from serving.config import Catalog
from serving.core.principal import Principal
from serving.retrieval.replica import RetrievalReplica
from tests.callers.identity import key_of
from tests.contract.routes.whole import Retrieval
from tests.contract.running import Gateway, Loop, gateway
from tests.unit.retrieval.tables.documents import DOCUMENTS
from tests.wait import eventually

TEXT = "\n\n".join(f"Gate {n} of the canal is shut at {n} o'clock. " * 30 for n in range(12))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    retrieval = Retrieval()
    with Loop() as loop, gateway(loop, tmp_path_factory.mktemp("chunks"), Catalog(), retrieval=retrieval) as up:
        retrieval.replica = RetrievalReplica(up.services.config)
        loop.do(retrieval.replica.start())
        yield up
        loop.do(retrieval.replica._database.close())


@pytest.fixture(scope="module")
def http(up: Gateway) -> Iterator[httpx.Client]:
    with up.client() as http:
        yield http


def ingested(http: httpx.Client, name: str, data: bytes) -> tuple[str, dict[str, Any]]:
    """Returns the URL of a file in a new vector store, and its state."""
    store = http.post("/v1/vector_stores", json={"name": name}).json()["id"]
    file = http.post("/v1/files", data={"purpose": "assistants"}, files={"file": (name, data)}).json()["id"]
    http.post(f"/v1/vector_stores/{store}/files", json={"file_id": file}).raise_for_status()
    url = f"/v1/vector_stores/{store}/files/{file}"
    eventually(lambda: http.get(url).json()["status"] == "completed", "the file is ingested")
    return url, http.get(url).json()


@pytest.fixture(scope="module")
def gates(http: httpx.Client) -> tuple[str, dict[str, Any]]:
    return ingested(http, "gates.txt", TEXT.encode())


def page(http: httpx.Client, url: str, **query: object) -> dict[str, Any]:
    answer = http.get(f"{url}/chunks", params=query)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_state_of_a_file_says_how_much_of_its_text_is_in_chunks(
    http: httpx.Client, gates: tuple[str, dict[str, Any]]
) -> None:
    url, state = gates
    visible = sum(map(len, TEXT.split()))
    assert state["headrace"]["extraction"] == {
        "characters": visible,
        "characters_in_chunks": visible,
        "unread_pages": 0,
    }
    text = http.get(f"{url}/content").json()["data"][0]["text"]
    covered: set[int] = set()
    for chunk in page(http, url, limit=100)["data"]:
        start, end = chunk["position"]["start"], chunk["position"]["end"]
        assert text[start:end] == chunk["text"]
        covered.update(range(start, end))
    assert sum(1 for at in covered if not text[at].isspace()) == visible


def test_chunks_are_paged_in_both_orders(http: httpx.Client, gates: tuple[str, dict[str, Any]]) -> None:
    url, state = gates
    whole = page(http, url, limit=100)
    ids = [f"{state['id']}:{n}" for n in range(len(whole["data"]))]
    assert len(ids) > 10
    assert ([chunk["id"] for chunk in whole["data"]], whole["has_more"]) == (ids, False)
    for order, expected in (("asc", ids), ("desc", ids[::-1])):
        found: list[str] = []
        more = True
        while more:
            after = {"after": found[-1]} if found else {}
            part = page(http, url, limit=3, order=order, **after)
            found += [chunk["id"] for chunk in part["data"]]
            more = part["has_more"]
            assert (part["first_id"], part["last_id"]) == (part["data"][0]["id"], found[-1])
        assert found == expected
    last = page(http, url, after=ids[-1])
    assert (last["data"], last["has_more"]) == ([], False)


def test_a_wrong_chunk_is_refused(http: httpx.Client, gates: tuple[str, dict[str, Any]]) -> None:
    url, state = gates
    for after in ("file-0:0", f"{state['id']}:9999", f"{state['id']}:", f"{state['id']}:-1", "x" * 81):
        for order in ("asc", "desc"):
            answer = http.get(f"{url}/chunks", params={"after": after, "order": order})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "after"), after


def test_cells_of_a_table_are_in_the_preview_with_their_names(http: httpx.Client) -> None:
    make, [known] = DOCUMENTS["centred, heading left above"]
    url, state = ingested(http, "gates.pdf", make())
    [chunk] = page(http, url)["data"]
    assert (chunk["position"]["page"], chunk["index"], chunk["title"]) == (1, 0, "gates")
    for row in known.rows:
        assert " | ".join(f"{name}: {cell}" for name, cell in zip(known.header, row, strict=True)) in chunk["text"]
    counted = state["headrace"]["extraction"]
    assert counted["characters"] == counted["characters_in_chunks"] == sum(map(len, chunk["text"].split()))


def test_others_do_not_see_chunks(up: Gateway, gates: tuple[str, dict[str, Any]]) -> None:
    key = up.loop.do(key_of(up.services, Principal("other", "eve", "")))
    with up.client() as other:
        other.headers["authorization"] = f"Bearer {key}"
        assert other.get(f"{gates[0]}/chunks").status_code == 404


def test_a_file_that_cannot_be_read_has_no_chunks(http: httpx.Client) -> None:
    store = http.post("/v1/vector_stores", json={"name": "bad"}).json()["id"]
    form, damaged = {"purpose": "assistants"}, b"%PDF-1.7\ntangerine\n%%EOF"
    file = http.post("/v1/files", data=form, files={"file": ("a.pdf", damaged)}).json()["id"]
    http.post(f"/v1/vector_stores/{store}/files", json={"file_id": file}).raise_for_status()
    url = f"/v1/vector_stores/{store}/files/{file}"
    eventually(lambda: http.get(url).json()["status"] == "failed", "the file was read")
    assert http.get(url).json()["headrace"]["extraction"] is None
    for order in ("asc", "desc"):
        assert page(http, url, order=order)["data"] == []
    http.delete(url)
    assert http.get(f"{url}/chunks").status_code == 404
