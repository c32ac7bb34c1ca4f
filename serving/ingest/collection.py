"""A managed collection, through `/v1/vector_stores` and `/v1/files`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from serving.core.managed import CHECKED_AT, MANAGED
from serving.ingest.api import error_message, headrace_fields, own_user, owner_of, pages, read_json, send

RESTRICTED = {"access": "restricted"}
"""Metadata of a collection whose access list is managed: the configuration says for whom assistants may read it."""

AT_ONCE = 4
"""Number of concurrent requests; the work itself waits in the stack's own queue."""

_REFUSALS = (400, 409, 413, 415, 422)
"""Statuses of errors about a single document. Others (key, rate limit, server) are about all of them."""


class IngestRefused(Exception):
    """The API rejected a document; the message has the reason."""


@dataclass(frozen=True)
class SourceFile:
    """A managed document in the collection. `version` is that of its source when it was ingested."""

    file_id: str
    path: str
    sha256: str
    version: str
    status: str
    error: str = ""
    restricted: bool = False


class Collection:
    """A vector store. Every call raises `IngestError`."""

    def __init__(self, client: httpx.Client, user: str, store: Mapping[str, Any]) -> None:
        """`user` is the key's user, `store` the API's vector store object."""
        self._client = client
        self._user = user
        self._store = store
        self.id = str(store["id"])

    @classmethod
    def find(cls, client: httpx.Client, name: str) -> Collection | None:
        """Returns the managed collection of this name: the oldest, which is the one that is searched.

        One from a version without owners is used if the user owns none; other users' collections of the same name never
        are.
        """
        user = own_user(client)
        stores = [
            store
            for store in pages(client, "/v1/vector_stores", name=name, order="asc")
            if store["name"] == name
            and (store.get("metadata") or {}).get("managed_by") == "headrace"
            and owner_of(store) in (user, None)
        ]
        store = min(stores, key=lambda store: owner_of(store) is None, default=None)
        return cls(client, user, store) if store is not None else None

    @classmethod
    def make(cls, client: httpx.Client, name: str, *, restricted: bool = False) -> Collection:
        body: dict[str, Any] = {"name": name, "metadata": MANAGED}
        if restricted:
            body = {"name": name, "metadata": MANAGED | RESTRICTED, "access": {}}
        return cls(client, own_user(client), read_json(send(client, "POST", "/v1/vector_stores", json=body)))

    def settle(self, *, restricted: bool) -> None:
        """Takes ownership of the collection, and restricts its readers if it is restricted. Access lists that users set
        are kept.
        """
        metadata = self._store.get("metadata") or {}
        marked = RESTRICTED.items() <= metadata.items()
        open_to_all = restricted and headrace_fields(self._store).get("access") is None
        if owner_of(self._store) == self._user and marked == restricted and not open_to_all:
            return
        kept = {key: value for key, value in metadata.items() if key not in RESTRICTED}
        body: dict[str, Any] = {"metadata": kept | (RESTRICTED if restricted else {})}
        if restricted != marked or open_to_all:
            body["access"] = {} if restricted else None
        self._store = read_json(send(self._client, "POST", f"/v1/vector_stores/{self.id}", json=body))

    def note_check(self) -> None:
        """Records that the collection equals its documents now, from which the age of the index counts."""
        metadata = (self._store.get("metadata") or {}) | {CHECKED_AT: str(int(time.time()))}
        self._store = read_json(send(self._client, "POST", f"/v1/vector_stores/{self.id}", json={"metadata": metadata}))

    @property
    def _files(self) -> str:
        return f"/v1/vector_stores/{self.id}/files"

    def documents(self) -> list[SourceFile]:
        """Returns the documents that ingestion added, without those that users uploaded or attached themselves."""
        found = []
        ours = {
            str(file["id"]): headrace_fields(file).get("access") is not None
            for file in pages(self._client, "/v1/files")
            if owner_of(file) in (self._user, None)
        }
        for item in pages(self._client, self._files):
            attributes = item.get("attributes") or {}
            path, sha = str(attributes.get("path", "")), str(attributes.get("sha256", ""))
            version = str(attributes.get("version") or sha)
            if path and sha and item["id"] in ours:
                error = str((item.get("last_error") or {}).get("message", ""))
                found.append(SourceFile(item["id"], path, sha, version, item["status"], error, ours[item["id"]]))
        return found

    def in_progress(self) -> set[str]:
        """Returns the ids of the files whose ingestion has not ended."""
        return {item["id"] for item in pages(self._client, self._files, filter="in_progress")}

    def add(self, path: str, version: str, content: bytes, *, restricted: bool = False) -> str:
        """Uploads a document and starts its ingestion; returns the file's id. Raises `IngestRefused`."""
        form = {"purpose": "assistants"} | ({"access": "{}"} if restricted else {})
        upload = send(self._client, "POST", "/v1/files", data=form, files={"file": (Path(path).name, content)})
        if upload.status_code in _REFUSALS:
            raise IngestRefused(error_message(upload))
        file_id = str(read_json(upload)["id"])
        body = {"file_id": file_id, "attributes": _attributes(path, version, hashlib.sha256(content).hexdigest())}
        attached = send(self._client, "POST", self._files, json=body)
        if attached.status_code in _REFUSALS:
            self.remove(file_id)
            raise IngestRefused(error_message(attached))
        read_json(attached)
        return file_id

    def note_version(self, document: SourceFile, version: str) -> None:
        """Records that the document's source has the same content under another version."""
        body = {"attributes": _attributes(document.path, version, document.sha256)}
        read_json(send(self._client, "POST", f"{self._files}/{document.file_id}", json=body))

    def remove(self, file_id: str) -> None:
        for url in (f"{self._files}/{file_id}", f"/v1/files/{file_id}"):
            response = send(self._client, "DELETE", url)
            if response.status_code != httpx.codes.NOT_FOUND:
                read_json(response)

    def drop(self) -> None:
        at_once(self.remove, [d.file_id for d in self.documents()])
        read_json(send(self._client, "DELETE", f"/v1/vector_stores/{self.id}"))


def _attributes(path: str, version: str, sha256: str) -> dict[str, str]:
    return {"path": path, "sha256": sha256} | ({"version": version} if version != sha256 else {})


def at_once(work: Callable[[str], None], items: Sequence[str], progress: Callable[[str], None] | None = None) -> None:
    """Runs `work` for all items, a few concurrently; after the first error, no further items are started."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for number, _ in enumerate(pool.map(work, items), 1):
                if progress:
                    progress(f"{number} of {len(items)}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
