import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra import config as settings
from infra.providers.knowledge import KnowledgeProvider
from infra.resources.problem import Problem
from serving.core.managed import CHECKED_AT, MANAGED
from tools.stack.knowledge_checks import record_checks

KEY = "hr_planted"


class Api:
    """The routes that a collection needs, over dictionaries; what contains `broken` fails to ingest."""

    def __init__(self) -> None:
        self.stores: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.attached: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self._ids = 0

    def answer(self, method: str, path: str, query: str, body: bytes) -> tuple[int, Any]:
        self.calls.append(f"{method} {path}")
        if path == "/v1/me":
            return 200, {"id": "admin"}
        if method == "GET" and path == "/v1/files":
            ours = [{"id": id, "headrace": {"owner": "admin", "access": None}} for id in self.files]
            return 200, self._page(ours, query)
        if method == "GET" and path == "/v1/vector_stores":
            return 200, self._page(list(self.stores.values()), query)
        if method == "POST" and path == "/v1/vector_stores":
            store = {**json.loads(body), "id": self._id("vs"), "headrace": {"owner": "admin", "access": None}}
            self.stores[store["id"]] = store
            return 200, store
        if method == "POST" and (match := re.fullmatch(r"/v1/vector_stores/(\w+)", path)):
            self.stores[match[1]] |= json.loads(body)
            return 200, self.stores[match[1]]
        if method == "POST" and path == "/v1/files":
            content = body.split(b"\r\n\r\n")[-1].rsplit(b"\r\n--", 1)[0]
            if content == b"":
                return 400, {"error": {"message": "the file is empty"}}
            id = self._id("file")
            self.files[id] = content
            return 200, {"id": id}
        if match := re.fullmatch(r"/v1/vector_stores/(\w+)/files", path):
            if method == "GET":
                page = self._page(list(self.attached.values()), query)
                for item in page["data"]:  # what was seen at work is done when it is looked at again
                    self._settle(self.attached[item["id"]])
                return 200, page
            asked = json.loads(body)
            item = {"id": asked["file_id"], "attributes": asked["attributes"], "status": "in_progress"}
            self.attached[item["id"]] = item
            return 200, dict(item)
        if match := re.fullmatch(r"/v1/vector_stores/\w+/files/(\w+)", path):
            item = self.attached.get(match[1])
            if item is None:
                return 404, {"error": {"message": "none"}}
            del self.attached[match[1]]
            return 200, {}
        if method == "DELETE" and (match := re.fullmatch(r"/v1/files/(\w+)", path)):
            return (200, {}) if self.files.pop(match[1], None) is not None else (404, {})
        if method == "DELETE" and (match := re.fullmatch(r"/v1/vector_stores/(\w+)", path)):
            del self.stores[match[1]]
            return 200, {}
        return 404, {"error": {"message": "no such route"}}

    def contents(self) -> dict[str, bytes]:
        return {a["attributes"]["path"]: self.files[id] for id, a in self.attached.items()}

    def _id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}{self._ids}"

    def _settle(self, item: dict[str, Any]) -> None:
        broken = b"broken" in self.files[item["id"]]
        item["status"] = "failed" if broken else "completed"
        item["last_error"] = {"message": "no text in it"} if broken else None

    def _page(self, items: list[dict[str, Any]], query: str) -> dict[str, Any]:
        """Pages of one, to see that every page is read."""
        after, status = re.search(r"after=(\w+)", query), re.search(r"filter=(\w+)", query)
        start = [i["id"] for i in items].index(after[1]) + 1 if after else 0
        rest = [dict(i) for i in items[start:] if status is None or i["status"] == status[1]]
        return {"data": rest[:1], "has_more": len(rest) > 1}


@pytest.fixture
def api() -> Iterator[tuple[Api, str]]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            path, _, query = self.path.partition("?")
            status, answer = 401, {"error": {"message": "no key"}}
            if self.headers.get("authorization") == f"Bearer {KEY}":
                status, answer = api.answer(self.command, path, query, body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield api, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "a.md").write_text("alpha")
    (tmp_path / "b.md").write_text("beta")
    return tmp_path


def inputs(root: Path, url: str, **more: Any) -> dict[str, Any]:
    documents = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(root.glob("*.md"))}
    return {
        "url": url,
        "key_path": str(root / "key"),
        "collection": "docs",
        "root": str(root),
        "documents": documents,
        "restricted": False,
        "on_error": "error",
        **more,
    }


def test_documents_are_ingested_and_an_edit_reingests_one(api: tuple[Api, str], root: Path, said: Any) -> None:
    server, url = api
    id, outputs = KnowledgeProvider().create(inputs(root, url), said.task)
    assert server.contents() == {"a.md": b"alpha", "b.md": b"beta"}
    assert KnowledgeProvider().diff(outputs, inputs(root, url)).changed == ()
    assert KEY not in repr(outputs)

    [old] = [id for id, content in server.files.items() if content == b"alpha"]
    (root / "a.md").write_text("alpha, second edition")
    news = inputs(root, url)
    assert KnowledgeProvider().diff(outputs, news).changed == ("documents",)
    server.calls.clear()
    outputs = KnowledgeProvider().update(id, outputs, news, said.task)
    assert server.contents() == {"a.md": b"alpha, second edition", "b.md": b"beta"}
    assert len(server.files) == 2
    assert server.calls.count("POST /v1/files") == 1
    removed = server.calls.index(f"DELETE /v1/vector_stores/{id}/files/{old}")
    looks = server.calls[:removed].count(f"GET /v1/vector_stores/{id}/files")
    assert looks > 2, "the new version is there before the old one goes"
    assert KnowledgeProvider().read(id, outputs).outputs["documents"] == news["documents"]


def test_an_unchanged_collection_records_its_check(api: tuple[Api, str], root: Path, said: Any) -> None:
    server, url = api
    id, _ = KnowledgeProvider().create(inputs(root, url), said.task)
    metadata = server.stores[id]["metadata"]
    knowledge = [settings.Knowledge(name="docs", paths=("*.md",)), settings.Knowledge(name="none", paths=("*.txt",))]
    assert int(metadata.pop(CHECKED_AT)) > 0
    (root / "a.md").write_text("alpha, second edition")  # which `up` could not ingest
    record_checks(knowledge, root, url, KEY)
    assert server.stores[id]["metadata"] == MANAGED
    (root / "a.md").write_text("alpha")
    server.calls.clear()
    record_checks(knowledge, root, url, KEY)
    assert server.stores[id]["metadata"].keys() == {*MANAGED, CHECKED_AT}
    assert [call for call in server.calls if not call.startswith("GET")] == [f"POST /v1/vector_stores/{id}"]


def test_a_document_removed_from_the_folder_is_removed_from_the_collection(
    api: tuple[Api, str], root: Path, said: Any
) -> None:
    server, url = api
    id, outputs = KnowledgeProvider().create(inputs(root, url), said.task)
    (root / "b.md").unlink()
    KnowledgeProvider().update(id, outputs, inputs(root, url), said.task)
    assert server.contents() == {"a.md": b"alpha"}
    assert len(server.files) == 1


def test_failing_documents_are_named_and_stop_no_other(api: tuple[Api, str], root: Path, said: Any) -> None:
    server, url = api
    (root / "0.md").write_text("")
    (root / "a.md").write_text("broken")
    with pytest.raises(Problem) as raised:
        KnowledgeProvider().create(inputs(root, url), said.task)
    assert "2 of 3 documents of 'docs' failed" in str(raised.value)
    assert "\n  0.md: the file is empty" in str(raised.value)
    assert "\n  a.md: no text in it" in str(raised.value)
    assert server.contents() == {"b.md": b"beta"}
    assert len(server.files) == 1


def test_a_failed_new_version_keeps_the_old_one(api: tuple[Api, str], root: Path, said: Any) -> None:
    server, url = api
    id, outputs = KnowledgeProvider().create(inputs(root, url), said.task)
    (root / "a.md").write_text("broken")
    with pytest.raises(Problem):
        KnowledgeProvider().update(id, outputs, inputs(root, url), said.task)
    assert server.contents() == {"a.md": b"alpha", "b.md": b"beta"}


def test_warnings_leave_the_failed_for_the_next_time(api: tuple[Api, str], root: Path, said: Any) -> None:
    _, url = api
    (root / "a.md").write_text("broken")
    wanted = inputs(root, url, on_error="warn")
    _, outputs = KnowledgeProvider().create(wanted, said.task)
    assert outputs["documents"].keys() == {"b.md"}
    assert "a.md: no text in it" in said[-1]
    assert KnowledgeProvider().diff(outputs, wanted).changed == ("documents",)


def test_only_a_collection_of_the_stack_is_adopted_by_its_name(api: tuple[Api, str], root: Path, said: Any) -> None:
    server, url = api
    server.stores["theirs"] = {"id": "theirs", "name": "docs", "metadata": {}}
    id, _ = KnowledgeProvider().create(inputs(root, url), said.task)
    assert id != "theirs"
    server.calls.clear()
    assert KnowledgeProvider().create(inputs(root, url), said.task)[0] == id
    assert "POST /v1/files" not in server.calls


def test_refresh_notices_deleted_files(api: tuple[Api, str], root: Path, said: Any) -> None:
    server, url = api
    id, outputs = KnowledgeProvider().create(inputs(root, url), said.task)
    server.attached.popitem()
    assert KnowledgeProvider().diff(KnowledgeProvider().read(id, outputs).outputs, inputs(root, url)).changed == (
        "documents",
    )
    server.stores.clear()
    assert KnowledgeProvider().read(id, outputs).id is None


def test_delete_removes_everything_even_if_the_api_is_down(api: tuple[Api, str], root: Path, said: Any) -> None:
    server, url = api
    id, outputs = KnowledgeProvider().create(inputs(root, url), said.task)
    KnowledgeProvider().delete(id, outputs, said.task)
    assert (server.stores, server.attached, server.files) == ({}, {}, {})
    KnowledgeProvider().delete(id, {**outputs, "url": "http://127.0.0.1:9"}, said.task)
    assert "was not deleted from the data folder" in said[-1]


def test_files_attached_by_users_stay(api: tuple[Api, str], root: Path, said: Any) -> None:
    server, url = api
    id, outputs = KnowledgeProvider().create(inputs(root, url), said.task)
    server.files["theirs"] = b"by hand"
    server.attached["theirs"] = {"id": "theirs", "attributes": {}, "status": "completed"}
    (root / "a.md").unlink()
    KnowledgeProvider().update(id, outputs, inputs(root, url), said.task)
    assert server.files["theirs"] == b"by hand"
    assert server.attached.keys() >= {"theirs"}
    assert KnowledgeProvider().read(id, outputs).outputs["documents"].keys() == {"b.md"}


def test_an_ingestion_that_an_interrupted_up_began_is_waited_for(api: tuple[Api, str], root: Path, said: Any) -> None:
    server, url = api
    id, outputs = KnowledgeProvider().create(inputs(root, url), said.task)
    for item in server.attached.values():
        item["status"] = "in_progress"
    server.calls.clear()
    assert KnowledgeProvider().create(inputs(root, url), said.task) == (id, outputs)
    assert "POST /v1/files" not in server.calls
