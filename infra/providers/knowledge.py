"""One knowledge collection: a set of documents, kept equal to files of this checkout through the HTTP API."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from infra.providers.problem import Problem
from infra.providers.resource import Found, Resource, Task, Values, strings

MANAGED = {"managed_by": "headrace"}
INGEST_S = 600
"""Longest wait for one document."""


@dataclass(frozen=True)
class Document:
    """A document as the collection holds it."""

    file_id: str
    path: str
    sha256: str
    status: str


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
        found = []
        for item in _pages(self._client, self._files):
            attributes = item.get("attributes") or {}
            path, sha = str(attributes.get("path", "")), str(attributes.get("sha256", ""))
            found.append(Document(item["id"], path, sha, item["status"]))
        return found

    def add(self, path: str, content: bytes, task: Task) -> str | None:
        """Uploads and ingests a document; returns why it failed, or None."""
        sha = hashlib.sha256(content).hexdigest()
        form = {"purpose": "assistants"}
        upload = self._client.post("/v1/files", data=form, files={"file": (Path(path).name, content)})
        if upload.is_client_error:
            return _error(upload)
        file_id = _json(upload)["id"]
        body = {"file_id": file_id, "attributes": {"path": path, "sha256": sha}}
        attached = self._client.post(self._files, json=body)
        reason = _error(attached) if attached.is_client_error else self._await(_json(attached), task)
        if reason is not None:
            self.remove(file_id)
        return reason

    def _await(self, item: dict[str, Any], task: Task) -> str | None:
        deadline = time.monotonic() + INGEST_S
        while item["status"] == "in_progress":
            if time.monotonic() > deadline:
                return f"not ingested after {INGEST_S} s"
            task.pause(0.1)
            item = _json(self._client.get(f"{self._files}/{item['id']}"))
        if item["status"] == "completed":
            return None
        return str((item.get("last_error") or {}).get("message") or f"status {item['status']}")

    def remove(self, file_id: str) -> None:
        for url in (f"{self._files}/{file_id}", f"/v1/files/{file_id}"):
            response = self._client.delete(url)
            if response.status_code != 404:
                _json(response)

    def drop(self) -> None:
        for document in self.documents():
            self.remove(document.file_id)
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
    there: dict[str, list[Document]] = {}
    for document in collection.documents():
        there.setdefault(document.path, []).append(document)
    ingested: dict[str, str] = {}
    failed: dict[str, str] = {}
    for path, sha in sorted(wanted.items()):
        good = [d for d in there.get(path, []) if d.sha256 == sha and d.status == "completed"]
        if good:
            keep = good[0]
        else:
            task.say(f"ingesting {path}")
            reason = _ingest(collection, Path(new["root"]), path, sha, task)
            if reason is not None:
                failed[path] = reason
                continue
            keep = None
        ingested[path] = sha
        for document in there.get(path, []):
            if document is not keep:
                collection.remove(document.file_id)
    for path in there.keys() - wanted.keys():
        for document in there[path]:
            collection.remove(document.file_id)
    return ingested, failed


def _ingest(collection: Collection, root: Path, path: str, sha: str, task: Task) -> str | None:
    try:
        content = (root / path).read_bytes()
    except OSError as e:
        return f"cannot be read: {e.strerror}"
    if hashlib.sha256(content).hexdigest() != sha:
        return "changed while it was read; run `make up` again"
    return collection.add(path, content, task)


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


def _pages(client: httpx.Client, url: str) -> Iterator[dict[str, Any]]:
    params: dict[str, str | int] = {"limit": 100}
    while True:
        page = _json(client.get(url, params=params))
        yield from page["data"]
        if not page.get("has_more") or not page["data"]:
            return
        params["after"] = page["data"][-1]["id"]
