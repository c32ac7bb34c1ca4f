"""Vector stores over HTTP: what a body names and is not there is told apart from a wrong path."""

from __future__ import annotations

import httpx
import pytest

from serving.config import Catalog
from tests.unit.api.running import Loop, gateway


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    loop = Loop()
    with (
        gateway(loop, tmp_path_factory.mktemp("gateway"), Catalog()) as up,
        httpx.Client(base_url=up.url, headers={"Authorization": f"Bearer {up.key}"}, timeout=20) as http,
    ):
        yield http
    loop.stop()


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
