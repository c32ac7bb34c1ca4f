"""Vector stores over HTTP: what a body names and is not there is told apart from a wrong path."""

from __future__ import annotations

import httpx
import pytest

from serving.config import Catalog
from serving.core.principal import Principal
from serving.retrieval.types import Hit
from tests.callers.identity import key_of
from tests.contract.running import Loop, gateway


class Found:
    """A retrieval deployment that finds one passage per file, each worse than the one before."""

    def __init__(self):
        self.call = self
        self.files, self.asked = [], None

    async def remote(self, method, principal, store_id, query, count, filters=None):
        self.asked = count, filters
        scores = zip(self.files, (0.9, 0.5, 0.1), strict=False)
        return [Hit(f"{id}:0", id, "a.txt", "", "", "A river.", 0, 8, None, s, s, 0.0) for id, s in scores]


FOUND = Found()


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    with Loop() as loop, gateway(loop, tmp_path_factory.mktemp("gateway"), Catalog(), retrieval=FOUND) as up:
        yield up


@pytest.fixture(scope="module")
def http(up):
    with up.client() as http:
        yield http


@pytest.fixture
def file(http):
    return http.post("/v1/files", data={"purpose": "assistants"}, files={"file": ("a.txt", b"A river.")}).json()["id"]


@pytest.fixture
def store(http):
    store = http.post("/v1/vector_stores", json={"name": "s"}).json()["id"]
    yield store
    http.delete(f"/v1/vector_stores/{store}")


def error(response):
    assert response.status_code == 404
    return response.json()["error"]["message"], response.json()["error"]["param"]


def test_an_unknown_file_in_the_body_is_a_400(http, file, store):
    path = f"/v1/vector_stores/{store}/files"
    assert error(http.post(path, json={"file_id": "file_0"})) == ("There is no such file.", "file_id")
    assert error(http.post(path, json={"file_id": "\0"})) == ("There is no such file.", "file_id")
    wrong = http.post("/v1/vector_stores/vs_0/files", json={"file_id": file})
    assert error(wrong) == ("There is no such vector store.", None)
    assert http.post(path, json={"file_id": file}).status_code == 200


def test_a_store_with_an_unknown_file_is_not_created(http, file, store):
    made = http.post("/v1/vector_stores", json={"name": "n", "file_ids": [file, "file_0"]})
    assert error(made) == ("There is no such file.", "file_ids[1]")
    assert [s["id"] for s in http.get("/v1/vector_stores").json()["data"]] == [store]


def test_a_batch_reports_its_invalid_files(http, file, store):
    path = f"/v1/vector_stores/{store}/file_batches"
    assert error(http.post(path, json={"file_ids": [file, "file_0"]})) == ("There is no such file.", "file_ids[1]")
    named = http.post(path, json={"files": [{"file_id": file}, {"file_id": "file_0"}]})
    assert error(named) == ("There is no such file.", "files[1].file_id")
    assert error(http.post("/v1/vector_stores/vs_0/file_batches", json={"file_ids": [file]}))[1] is None
    for wrong in (
        {},
        {"file_ids": []},
        {"file_ids": [file], "files": [{"file_id": file}]},
        {"files": [{"file_id": file}], "attributes": {"a": 1}},
        {"files": [{"file_id": file}, {"file_id": file}]},
    ):
        assert http.post(path, json=wrong).status_code == 400, wrong
    assert http.get(f"/v1/vector_stores/{store}/files").json()["data"] == []
    made = http.post(path, json={"files": [{"file_id": file, "attributes": {"a": 1}}]}).json()
    assert (made["object"], made["file_counts"]["total"]) == ("vector_store.files_batch", 1)
    assert http.get(f"{path}/{made['id']}/files").json()["data"][0]["attributes"] == {"a": 1}
    assert error(http.get(f"{path}/vsfb_0")) == ("There is no such file batch.", None)


def test_what_each_file_of_a_batch_gets_a_copy_of_is_limited(http, store):
    path, ids = f"/v1/vector_stores/{store}/file_batches", [f"file_{n}" for n in range(2_000)]
    around = len(b'{"access":{"users":[],"groups":["g"]},"attributes":{"a":"","b":"","c":"","d":""}}')
    for size, status, told in ((2_000, 404, "There is no such file."), (2_001, 400, "at most 4000000 bytes")):
        texts = [512, 512, 512, size - around - 3 * 512]
        shared = {"attributes": {name: "x" * length for name, length in zip("abcd", texts, strict=True)}}
        shared["access"] = {"groups": ["g"]}
        refused = http.post(path, json={"file_ids": ids} | shared)
        assert refused.status_code == status
        assert told in refused.json()["error"]["message"]
    each = [{"file_id": id} | shared for id in ids]
    assert http.post(path, json={"files": each}).status_code == 404, "each names its own"


@pytest.fixture(scope="module")
def colleague(http, up):
    """Another user of the same tenant."""
    key = up.loop.do(key_of(up.services, Principal("default", "bob", "")))
    with httpx.Client(base_url=up.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
        yield http


def upload(http, access):
    data = {"purpose": "assistants"} | ({"access": access} if access is not None else {})
    return http.post("/v1/files", data=data, files={"file": ("a.txt", b"A river.")})


def test_the_text_around_a_passage_is_shown(http):
    words = "".join(f"Sentence number {n}. " for n in range(3000))
    form = {"data": {"purpose": "assistants"}, "files": {"file": ("long.txt", words.encode())}}
    path = f"/v1/files/{http.post('/v1/files', **form).json()['id']}/text"
    start = words.index("Sentence number 2000.")
    shown = http.get(path, params={"start": start, "end": start + 21}).json()
    assert len(shown["text"]) == shown["end"] - shown["start"] == 20_000
    assert shown["text"][start - shown["start"] :].startswith("Sentence number 2000.")
    assert (shown["length"], shown["filename"]) == (len(words.strip()), "long.txt")
    assert http.get(path).json()["start"] == 0
    for query in ({"start": "-1"}, {"end": "x"}, {"start": "1e3"}, {"end": "9" * 10}):
        assert http.get(path, params=query).status_code == 400, query
    rows = {"data": {"purpose": "batch"}, "files": {"file": ("rows.jsonl", b"{}\n")}}
    refused = http.get(f"/v1/files/{http.post('/v1/files', **rows).json()['id']}/text")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_file")


def test_access_lists_can_be_set_read_changed_and_removed(http, colleague):
    file = upload(http, '{"users": ["anna"]}').json()
    assert file["headrace"]["access"] == {"users": ["admin", "anna"], "groups": []}
    body = {"name": "s", "access": {"groups": ["legal"]}, "file_ids": [file["id"]]}
    store = http.post("/v1/vector_stores", json=body).json()
    assert store["headrace"]["access"] == {"users": ["admin"], "groups": ["legal"]}
    path = f"/v1/vector_stores/{store['id']}"
    attached = http.get(f"{path}/files/{file['id']}").json()
    assert attached["headrace"]["access"] == file["headrace"]["access"]
    for hidden in (path, f"{path}/files", f"{path}/files/{file['id']}", f"/v1/files/{file['id']}"):
        assert colleague.get(hidden).status_code == 404
    assert colleague.get(f"/v1/files/{file['id']}/content").status_code == 404
    assert colleague.get(f"/v1/files/{file['id']}/text").status_code == 404
    assert colleague.post(f"{path}/search", json={"query": "river"}).status_code == 404
    assert http.post(path, json={"name": "t"}).json()["headrace"] == store["headrace"]
    assert http.post(path, json={"access": {"users": ["bob"]}}).json()["headrace"]["access"]["users"] == [
        "admin",
        "bob",
    ]
    assert colleague.get(path).json()["name"] == "t"
    assert colleague.get(f"{path}/files").json()["data"] == []
    again = http.post(f"{path}/files", json={"file_id": file["id"], "access": None}).json()
    assert again["headrace"]["access"] is None
    assert [f["id"] for f in colleague.get(f"{path}/files").json()["data"]] == [file["id"]]
    assert http.post(path, json={"access": None}).json()["headrace"]["access"] is None
    http.delete(path)


def test_readers_cannot_change_a_store(http, colleague, file, store):
    path = f"/v1/vector_stores/{store}"
    http.post(f"{path}/files", json={"file_id": file})
    for refused in (
        colleague.post(path, json={"access": None}),
        colleague.post(f"{path}/files", json={"file_id": file}),
        colleague.delete(f"{path}/files/{file}"),
        colleague.delete(path),
        colleague.delete(f"/v1/files/{file}"),
    ):
        assert refused.status_code == 403
        assert (refused.json()["error"]["type"], refused.json()["error"]["code"]) == ("permission_error", "not_owner")


@pytest.mark.parametrize("bad", ["", "x", "[]", '{"users": "anna"}', '{"groups": [1]}', '{"users": [""]}', '"\\ud800"'])
def test_invalid_access_lists_are_rejected(http, bad):
    refused = upload(http, bad)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "access")


@pytest.mark.parametrize(
    "bad", [[], "x", {"users": "a"}, {"users": ["a"] * 101}, {"groups": ["x" * 257]}, {"users": ["\0"]}]
)
def test_invalid_store_access_lists_are_rejected(http, store, bad):
    for path in ("/v1/vector_stores", f"/v1/vector_stores/{store}"):
        refused = http.post(path, json={"name": "s", "access": bad})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"].startswith("access")


def test_attributes_are_set_changed_shown_and_searched_by(http, store):
    path = f"/v1/vector_stores/{store}"
    FOUND.files = [upload(http, None).json()["id"] for _ in range(3)]
    for file, team in zip(FOUND.files, ("legal", "sales", "legal"), strict=True):
        made = http.post(f"{path}/files", json={"file_id": file, "attributes": {"team": team, "year": 2024}}).json()
        assert made["attributes"] == {"team": team, "year": 2024}
    one = f"{path}/files/{FOUND.files[1]}"
    assert http.post(one, json={"attributes": {"team": "it"}}).json() == http.get(one).json()
    assert http.get(one).json()["attributes"] == {"team": "it"}
    filters = {"type": "eq", "key": "team", "value": "legal"}
    options = {"ranker": "auto", "score_threshold": 0.5}
    body = {"query": "river", "max_num_results": 3, "filters": filters, "rewrite_query": False}
    found = http.post(f"{path}/search", json={**body, "ranking_options": options}).json()["data"]
    assert [(hit["score"], hit["attributes"]) for hit in found] == [
        (0.9, {"team": "legal", "year": 2024}),
        (0.5, {"team": "it"}),
    ]
    assert (FOUND.asked[0], FOUND.asked[1].model_dump()) == (3, filters)
    assert http.post(one, json={"attributes": None}).json()["attributes"] == {}
    assert len(http.post(f"{path}/search", json={"query": "river"}).json()["data"]) == 3


EXPIRY = {"anchor": "last_active_at", "days": 7}


@pytest.mark.parametrize(
    ("path", "field", "body"),
    [
        ("/search", "filters.value", {"filters": {"type": "in", "key": "a", "value": None}}),
        ("/search", "ranking_options.ranker", {"ranking_options": {"ranker": "default-2024-11-15"}}),
        ("/search", "ranking_options.score_threshold", {"ranking_options": {"score_threshold": 2}}),
        ("/search", "rewrite_query", {"rewrite_query": True}),
        ("/search", "max_num_results", {"max_num_results": 51}),
        ("", "expires_after", {"expires_after": EXPIRY}),
        ("/files/file_0", "attributes", {"attributes": {"a" * 65: 1}}),
        ("/files/file_0", "attributes", {"attributes": {"a": "x" * 513}}),
        ("/files/file_0", "attributes", {"attributes": dict.fromkeys(map(str, range(17)), 1)}),
        ("/files", "attributes", {"file_id": "file_0", "attributes": {"a": "x" * 513}}),
    ],
)
def test_unsupported_fields_are_rejected_by_name(http, store, path, field, body):
    asked = {"query": "river"} | body if path == "/search" else body
    refused = http.post(f"/v1/vector_stores/{store}{path}", json=asked)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)


def test_a_new_store_uses_the_requested_chunking(http, file):
    chunking = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}
    body = {"name": "s", "file_ids": [file], "chunking_strategy": chunking}
    store = http.post("/v1/vector_stores", json=body).json()["id"]
    assert http.get(f"/v1/vector_stores/{store}/files/{file}").json()["chunking_strategy"] == chunking
    assert (
        http.post("/v1/vector_stores", json=body | {"expires_after": EXPIRY}).json()["error"]["param"]
        == "expires_after"
    )


def test_parameters_that_are_not_acted_upon_are_refused_by_name(http, store):
    for path in ("/v1/vector_stores", f"/v1/vector_stores/{store}/files"):
        refused = http.get(path, params={"before": "vs_0"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "before")
    form = {"purpose": "assistants", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    refused = http.post("/v1/files", data=form, files={"file": ("a.txt", b"A river.")})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "expires_after")
    assert http.get("/v1/files", params={"limit": 10_000}).status_code == 200
    assert http.get("/v1/files", params={"limit": 10_001}).json()["error"]["param"] == "limit"
