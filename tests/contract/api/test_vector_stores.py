"""Vector stores over HTTP: what a body names and is not there is told apart from a wrong path."""

from __future__ import annotations

import httpx
import pytest

from serving.config import Catalog
from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.running import Loop, gateway


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    loop = Loop()
    with gateway(loop, tmp_path_factory.mktemp("gateway"), Catalog()) as up:
        yield up
    loop.stop()


@pytest.fixture(scope="module")
def http(up):
    with httpx.Client(base_url=up.url, headers={"Authorization": f"Bearer {up.key}"}, timeout=60) as http:
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


def test_a_file_that_is_not_there_is_the_bodys_mistake(http, file, store):
    path = f"/v1/vector_stores/{store}/files"
    assert error(http.post(path, json={"file_id": "file_0"})) == ("There is no such file.", "file_id")
    assert error(http.post(path, json={"file_id": "\0"})) == ("There is no such file.", "file_id")
    wrong = http.post("/v1/vector_stores/vs_0/files", json={"file_id": file})
    assert error(wrong) == ("There is no such vector store.", None)
    assert http.post(path, json={"file_id": file}).status_code == 200


def test_a_store_of_a_file_that_is_not_there_is_not_made(http, file, store):
    made = http.post("/v1/vector_stores", json={"name": "n", "file_ids": [file, "file_0"]})
    assert error(made) == ("There is no such file.", "file_ids[1]")
    assert [s["id"] for s in http.get("/v1/vector_stores").json()["data"]] == [store]


@pytest.fixture(scope="module")
def colleague(http, up):
    """Another user of the same tenant."""
    key = up.loop.do(key_of(up.services, Principal("default", "bob", "")))
    with httpx.Client(base_url=up.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
        yield http


def upload(http, access):
    data = {"purpose": "assistants"} | ({"access": access} if access is not None else {})
    return http.post("/v1/files", data=data, files={"file": ("a.txt", b"A river.")})


def test_a_list_is_given_shown_changed_and_taken_away(http, colleague):
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


def test_whoever_may_only_read_is_told_so(http, colleague, file, store):
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
def test_a_list_that_is_none_is_refused(http, bad):
    refused = upload(http, bad)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "access")


@pytest.mark.parametrize(
    "bad", [[], "x", {"users": "a"}, {"users": ["a"] * 101}, {"groups": ["x" * 257]}, {"users": ["\0"]}]
)
def test_a_list_of_a_store_that_is_none_is_refused(http, store, bad):
    for path in ("/v1/vector_stores", f"/v1/vector_stores/{store}"):
        refused = http.post(path, json={"name": "s", "access": bad})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"].startswith("access")
