"""One knowledge collection: a set of documents, kept equal to files of this checkout through the HTTP API."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from infra.providers.problem import Problem
from infra.providers.resource import Found, Resource, Task, Values, strings

MANAGED = {"managed_by": "headrace"}
INGEST_S = 600
"""Longest wait for the next document to be ingested."""
AT_ONCE = 4
"""Requests under way together; the work itself waits in the stack's own queue."""


@dataclass(frozen=True)
class Document:
    """A document of ours as the collection holds it."""

    file_id: str
    path: str
    sha256: str
    status: str
    error: str = ""


GOING_WELL = ("completed", "in_progress")


class Refused(Exception):
    """A document that the API does not take; the message says why."""


class Collection:
    """A vector store, through `/v1/vector_stores` and `/v1/files`."""

    def __init__(self, client: httpx.Client, id: str) -> None:
        self._client = client
        self.id = id

    @classmethod
    def find(cls, client: httpx.Client, name: str) -> Collection | None:
        """Returns the collection that we manage under this name."""
        for store in _pages(client, "/v1/vector_stores"):
            if store["name"] == name and (store.get("metadata") or {}).get("managed_by") == "headrace":
                return cls(client, store["id"])
        return None

    @classmethod
    def make(cls, client: httpx.Client, name: str) -> Collection:
        body = {"name": name, "metadata": MANAGED}
        return cls(client, _json(client.post("/v1/vector_stores", json=body))["id"])

    @property
    def _files(self) -> str:
        return f"/v1/vector_stores/{self.id}/files"

    def documents(self) -> list[Document]:
        """Returns the documents that were put there by us; what users attached themselves is theirs."""
        found = []
        for item in _pages(self._client, self._files):
            attributes = item.get("attributes") or {}
            path, sha = str(attributes.get("path", "")), str(attributes.get("sha256", ""))
            if path and sha:
                error = str((item.get("last_error") or {}).get("message", ""))
                found.append(Document(item["id"], path, sha, item["status"], error))
        return found

    def in_progress(self) -> set[str]:
        """Returns the ids of the files that are still to be ingested."""
        return {item["id"] for item in _pages(self._client, self._files, filter="in_progress")}

    def add(self, path: str, content: bytes) -> str:
        """Uploads a document and asks for its ingestion; returns the file's id. Raises `Refused`."""
        sha = hashlib.sha256(content).hexdigest()
        form = {"purpose": "assistants"}
        upload = self._client.post("/v1/files", data=form, files={"file": (Path(path).name, content)})
        if upload.is_client_error:
            raise Refused(_error(upload))
        file_id = str(_json(upload)["id"])
        body = {"file_id": file_id, "attributes": {"path": path, "sha256": sha}}
        attached = self._client.post(self._files, json=body)
        if attached.is_client_error:
            self.remove(file_id)
            raise Refused(_error(attached))
        _json(attached)
        return file_id

    def remove(self, file_id: str) -> None:
        for url in (f"{self._files}/{file_id}", f"/v1/files/{file_id}"):
            response = self._client.delete(url)
            if response.status_code != 404:
                _json(response)

    def drop(self) -> None:
        _at_once(self.remove, [d.file_id for d in self.documents()])
        _json(self._client.delete(f"/v1/vector_stores/{self.id}"))


class Knowledge(Resource):
    """Inputs: `url` (of the API), `key_path` (file of the API key), `collection` (its name), `root` (folder),
    `documents` (path below root -> SHA-256), `on_error` (`error` or `warn`).

    Outputs: `documents` as ingested: a document that failed is missing there, so that the next `up` tries again.
    """

    replace_on = frozenset({"collection"})
    computed = frozenset({"vector_store"})

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        with _client(new) as client:
            name = new["collection"]
            collection = Collection.find(client, name) or Collection.make(client, name)
            ingested, failed = _bring(collection, new, task)
        _report(failed, new, task)
        return collection.id, {**new, "documents": ingested, "vector_store": collection.id}

    def read(self, id: str, old: Values) -> Found:
        try:
            with _client(old) as client:
                collection = Collection.find(client, old["collection"])
                if collection is None:
                    return Found()
                there = {d.path: d.sha256 for d in collection.documents() if d.status == "completed"}
        except (httpx.HTTPError, OSError, Problem):
            return Found(id, old)  # a dead or dying API: whether the documents are there shows when it is healed
        return Found(collection.id, {**old, "documents": there, "vector_store": collection.id})

    def update(self, id: str, old: Values, new: Values, task: Task) -> Values:
        return self.create(new, task)[1]

    def delete(self, id: str, old: Values, task: Task) -> None:
        try:
            with _client(old) as client:
                if collection := Collection.find(client, old["collection"]):
                    collection.drop()
        except (httpx.HTTPError, OSError, Problem) as e:
            # Ending a stack that is broken must work: the collection stays where all of its data is.
            task.say(f"collection {old['collection']} stays in the data folder: {e}")


def _bring(collection: Collection, new: Values, task: Task) -> tuple[dict[str, str], dict[str, str]]:
    """Makes the collection equal to the files; returns what is ingested and what failed, by path.

    A new version is complete before the old one goes, so that a question finds the one or the other.
    """
    wanted = strings(new["documents"])
    before = collection.documents()
    files = {d.path: d.file_id for d in before if wanted.get(d.path) == d.sha256 and d.status in GOING_WELL}
    added, failed = _add(collection, Path(new["root"]), {p: s for p, s in wanted.items() if p not in files}, task)
    files |= added
    failed |= _await(collection, files, task)
    ingested = {path: sha for path, sha in sorted(wanted.items()) if path not in failed}
    kept = {files[path] for path in ingested}
    old = [d.file_id for d in before if d.file_id not in kept and d.path not in failed]
    _at_once(collection.remove, [*old, *(files[path] for path in failed if path in files)])
    return ingested, failed


def _add(
    collection: Collection, root: Path, documents: Mapping[str, str], task: Task
) -> tuple[dict[str, str], dict[str, str]]:
    """Uploads documents (path -> SHA-256); returns the file ids and the reasons of those that failed, by path."""
    files: dict[str, str] = {}
    failed: dict[str, str] = {}

    def add(path: str) -> None:
        task.pause(0)
        try:
            files[path] = collection.add(path, _read(root / path, documents[path]))
        except Refused as e:
            failed[path] = str(e)

    _at_once(add, sorted(documents), lambda count: task.say(f"uploaded {count}"))
    return files, failed


def _read(file: Path, sha: str) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as e:
        raise Refused(f"cannot be read: {e.strerror}") from None
    if hashlib.sha256(content).hexdigest() != sha:
        raise Refused("changed while it was read; run `make up` again")
    return content


def _await(collection: Collection, files: Mapping[str, str], task: Task) -> dict[str, str]:
    """Waits until every file (path -> id) is ingested; returns why some are not, by path."""
    left: set[str] | None = None
    progressed = time.monotonic()
    while waiting := collection.in_progress() & set(files.values()):
        if waiting != left:
            left, progressed = waiting, time.monotonic()
            task.say(f"ingested {len(files) - len(waiting)} of {len(files)}")
        if time.monotonic() - progressed > INGEST_S:
            break
        task.pause(0.2)
    ended = {d.file_id: d for d in collection.documents()}
    return {path: reason for path, id in files.items() if (reason := _failure(ended.get(id)))}


def _failure(document: Document | None) -> str:
    if document is None:
        return "was removed while it was ingested"
    if document.status == "completed":
        return ""
    if document.status == "in_progress":
        return f"not ingested after {INGEST_S} s"
    return document.error or f"status {document.status}"


def _at_once(work: Callable[[str], None], items: Sequence[str], progress: Callable[[str], None] | None = None) -> None:
    """Does `work` for all items, a few at once; the first error ends what has not begun."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for number, _ in enumerate(pool.map(work, items), 1):
                if progress:
                    progress(f"{number} of {len(items)}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _report(failed: dict[str, str], new: Values, task: Task) -> None:
    if not failed:
        return
    lines = "".join(f"\n  {path}: {reason}" for path, reason in failed.items())
    message = f"{len(failed)} of {len(new['documents'])} documents of '{new['collection']}' failed:{lines}"
    if new.get("on_error") != "warn":
        raise Problem(f"{message}\nthe others are ingested; mend or leave out these, or set on_error: warn")
    task.say(message)


def _client(values: Values) -> httpx.Client:
    key = Path(values["key_path"]).read_text().strip()
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=values["url"], headers=headers, timeout=120, trust_env=False)


def _error(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"


def _json(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        request = response.request
        raise Problem(f"{request.method} {request.url.path} answered {response.status_code}: {_error(response)}")
    return dict(response.json())


def _pages(client: httpx.Client, url: str, **query: str) -> Iterator[dict[str, Any]]:
    params: dict[str, str | int] = {"limit": 100, **query}
    while True:
        page = _json(client.get(url, params=params))
        yield from page["data"]
        if not page.get("has_more") or not page["data"]:
            return
        params["after"] = page["data"][-1]["id"]
