"""Keeps a collection equal to a folder of documents, through the HTTP API alone: `python -m serving.ingest`.

The Job of the chart runs it; the local stack's own resource works with the same `reconcile`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from serving.core.managed import CHECKED_AT, MANAGED
from serving.core.signals import end_at_term
from serving.retrieval.parsers import folder_extensions

RESTRICTED = {"access": "restricted"}
"""Metadata of a collection whose list of readers is ours: the configuration says whom assistants read it to."""

INGEST_S = 600
"""Longest wait for the next document to be ingested."""
AT_ONCE = 4
"""Requests under way together; the work itself waits in the stack's own queue."""
LOOK_S = 0.2
RETRY_S = 2.0

GOING_WELL = ("completed", "in_progress")


class IngestError(Exception):
    """The API refused, or failed; the message says how."""


class Unavailable(IngestError):
    """The API does not answer now, or not with what it is asked: another try may succeed."""


class IngestRefused(Exception):
    """A document that the API does not take; the message says why."""


class Progress(Protocol):
    """Whoever waits."""

    def say(self, message: str, /) -> None: ...

    def pause(self, seconds: float, /) -> None:
        """Waits; raises when the work is to be stopped."""


@dataclass(frozen=True)
class SourceFile:
    """A document of ours as the collection holds it."""

    file_id: str
    path: str
    sha256: str
    status: str
    error: str = ""
    restricted: bool = False


class Collection:
    """A vector store, through `/v1/vector_stores` and `/v1/files`. Every call raises `IngestError`."""

    def __init__(self, client: httpx.Client, user: str, store: Mapping[str, Any]) -> None:
        """`user` is who we are, `store` what the API says of the vector store."""
        self._client = client
        self._user = user
        self._store = store
        self.id = str(store["id"])

    @classmethod
    def find(cls, client: httpx.Client, name: str) -> Collection | None:
        """Returns the collection that we manage under this name: the oldest, which is the one that is searched.

        One from before there were owners is taken where none is ours, and what others call alike never.
        """
        user = _user(client)
        stores = [
            store
            for store in _pages(client, "/v1/vector_stores", name=name, order="asc")
            if store["name"] == name
            and (store.get("metadata") or {}).get("managed_by") == "headrace"
            and _owner(store) in (user, None)
        ]
        store = min(stores, key=lambda store: _owner(store) is None, default=None)
        return cls(client, user, store) if store is not None else None

    @classmethod
    def make(cls, client: httpx.Client, name: str, *, restricted: bool = False) -> Collection:
        body: dict[str, Any] = {"name": name, "metadata": MANAGED}
        if restricted:
            body = {"name": name, "metadata": MANAGED | RESTRICTED, "access": {}}
        return cls(client, _user(client), _json(_send(client, "POST", "/v1/vector_stores", json=body)))

    def settle(self, *, restricted: bool) -> None:
        """Makes the collection ours, and nobody else's to read if it is restricted. What users listed is left alone."""
        metadata = self._store.get("metadata") or {}
        marked = RESTRICTED.items() <= metadata.items()
        open_to_all = restricted and _headrace_fields(self._store).get("access") is None
        if _owner(self._store) == self._user and marked == restricted and not open_to_all:
            return
        kept = {key: value for key, value in metadata.items() if key not in RESTRICTED}
        body: dict[str, Any] = {"metadata": kept | (RESTRICTED if restricted else {})}
        if restricted != marked or open_to_all:
            body["access"] = {} if restricted else None
        self._store = _json(_send(self._client, "POST", f"/v1/vector_stores/{self.id}", json=body))

    def note_check(self) -> None:
        """Notes that the collection is equal to its documents now: the age of an index counts from here."""
        metadata = (self._store.get("metadata") or {}) | {CHECKED_AT: str(int(time.time()))}
        self._store = _json(_send(self._client, "POST", f"/v1/vector_stores/{self.id}", json={"metadata": metadata}))

    @property
    def _files(self) -> str:
        return f"/v1/vector_stores/{self.id}/files"

    def documents(self) -> list[SourceFile]:
        """Returns the documents that were put there by us; what users uploaded or attached themselves is theirs."""
        found = []
        ours = {
            str(file["id"]): _headrace_fields(file).get("access") is not None
            for file in _pages(self._client, "/v1/files")
            if _owner(file) in (self._user, None)
        }
        for item in _pages(self._client, self._files):
            attributes = item.get("attributes") or {}
            path, sha = str(attributes.get("path", "")), str(attributes.get("sha256", ""))
            if path and sha and item["id"] in ours:
                error = str((item.get("last_error") or {}).get("message", ""))
                found.append(SourceFile(item["id"], path, sha, item["status"], error, ours[item["id"]]))
        return found

    def in_progress(self) -> set[str]:
        """Returns the ids of the files that are still to be ingested."""
        return {item["id"] for item in _pages(self._client, self._files, filter="in_progress")}

    def add(self, path: str, content: bytes, *, restricted: bool = False) -> str:
        """Uploads a document and asks for its ingestion; returns the file's id. Raises `QuotaRefused`."""
        sha = hashlib.sha256(content).hexdigest()
        form = {"purpose": "assistants"} | ({"access": "{}"} if restricted else {})
        upload = _send(self._client, "POST", "/v1/files", data=form, files={"file": (Path(path).name, content)})
        if upload.status_code in _REFUSALS:
            raise IngestRefused(_error(upload))
        file_id = str(_json(upload)["id"])
        body = {"file_id": file_id, "attributes": {"path": path, "sha256": sha}}
        attached = _send(self._client, "POST", self._files, json=body)
        if attached.status_code in _REFUSALS:
            self.remove(file_id)
            raise IngestRefused(_error(attached))
        _json(attached)
        return file_id

    def remove(self, file_id: str) -> None:
        for url in (f"{self._files}/{file_id}", f"/v1/files/{file_id}"):
            response = _send(self._client, "DELETE", url)
            if response.status_code != httpx.codes.NOT_FOUND:
                _json(response)

    def drop(self) -> None:
        _at_once(self.remove, [d.file_id for d in self.documents()])
        _json(_send(self._client, "DELETE", f"/v1/vector_stores/{self.id}"))


_REFUSALS = (400, 409, 413, 415, 422)
"""Statuses that are about the document. Others (a key, a rate, a server) are about all of them."""


def is_document(file: Path) -> bool:
    """Whether a file is taken out of a folder; a file that is named itself is taken whatever it is called."""
    return file.suffix.lower() in folder_extensions()


def connect(url: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=120, trust_env=False)


def reconcile(
    client: httpx.Client,
    name: str,
    root: Path,
    wanted: Mapping[str, str],
    progress: Progress,
    *,
    restricted: bool = False,
) -> tuple[str, dict[str, str], dict[str, str]]:
    """Makes the collection `name` equal to `wanted` (path below `root` -> SHA-256).

    One that is `restricted` is nobody else's to read through the API, nor are its files. Returns its id, what is
    ingested (path -> SHA-256) and what failed (path -> reason). A new version is complete before the old one goes, so
    that a question finds the one or the other. Of what is equal already, only the time of the check is written.
    """
    collection = Collection.find(client, name) or Collection.make(client, name, restricted=restricted)
    collection.settle(restricted=restricted)
    before = collection.documents()
    equal = [d for d in before if wanted.get(d.path) == d.sha256 and d.restricted == restricted]
    files = {d.path: d.file_id for d in equal if d.status in GOING_WELL}
    missing = {p: s for p, s in wanted.items() if p not in files}
    added, failed = _add(collection, root, missing, progress, restricted=restricted)
    files |= added
    failed |= _await(collection, files, progress)
    ingested = {path: sha for path, sha in sorted(wanted.items()) if path not in failed}
    kept = {files[path] for path in ingested}
    old = [d.file_id for d in before if d.file_id not in kept and d.path not in failed]
    _at_once(collection.remove, [*old, *(files[path] for path in failed if path in files)])
    if not failed:
        collection.note_check()
    return collection.id, ingested, failed


def check(client: httpx.Client, name: str, wanted: Mapping[str, str]) -> bool:
    """Notes that the collection `name` was checked where it equals `wanted` (path -> SHA-256); changes nothing else.

    Returns whether it does. Raises `IngestError`.
    """
    collection = Collection.find(client, name)
    if collection is None:
        return False
    there = collection.documents()
    equal = {d.path: d.sha256 for d in there if d.status == "completed"} == wanted and len(there) == len(wanted)
    if equal:
        collection.note_check()
    return equal


def failures(name: str, documents: int, failed: Mapping[str, str]) -> str:
    """Says in several lines which documents failed, and why."""
    lines = "".join(f"\n  {path}: {reason}" for path, reason in sorted(failed.items()))
    return f"{len(failed)} of {documents} documents of '{name}' failed:{lines}"


def _add(
    collection: Collection, root: Path, documents: Mapping[str, str], progress: Progress, *, restricted: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """Uploads documents (path -> SHA-256); returns the file ids and the reasons of those that failed, by path."""
    files: dict[str, str] = {}
    failed: dict[str, str] = {}

    def add(path: str) -> None:
        progress.pause(0)
        try:
            files[path] = collection.add(path, _read_file(root / path, documents[path]), restricted=restricted)
        except IngestRefused as e:
            failed[path] = str(e)

    _at_once(add, sorted(documents), lambda count: progress.say(f"uploaded {count}"))
    return files, failed


def _read_file(file: Path, sha: str) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as e:
        raise IngestRefused(f"cannot be read: {e.strerror}") from None
    if hashlib.sha256(content).hexdigest() != sha:
        raise IngestRefused("changed while it was read; try again")
    return content


def _await(collection: Collection, files: Mapping[str, str], progress: Progress) -> dict[str, str]:
    """Waits until every file (path -> id) is ingested; returns why some are not, by path."""
    left: set[str] | None = None
    progressed = time.monotonic()
    while waiting := collection.in_progress() & set(files.values()):
        if waiting != left:
            left, progressed = waiting, time.monotonic()
            progress.say(f"ingested {len(files) - len(waiting)} of {len(files)}")
        if time.monotonic() - progressed > INGEST_S:
            break
        progress.pause(LOOK_S)
    ended = {d.file_id: d for d in collection.documents()}
    return {path: reason for path, id in files.items() if (reason := _failure(ended.get(id)))}


def _failure(document: SourceFile | None) -> str:
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


def _send(client: httpx.Client, method: str, url: str, **options: Any) -> httpx.Response:
    try:
        return client.request(method, url, **options)
    except httpx.HTTPError as e:
        raise Unavailable(f"{method} {url}: {e or type(e).__name__}") from e


def _error(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"


def _json(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        request = response.request
        message = f"{request.method} {request.url.path} answered {response.status_code}: {_error(response)}"
        # A key is taken up by gateways that start: during a roll-out an old one does not know it yet.
        later = response.is_server_error or response.status_code in (401, 404, 408, 429)
        raise (Unavailable if later else IngestError)(message)
    try:
        return dict(response.json())
    except ValueError:
        raise Unavailable(f"{response.request.url} answered something else than JSON") from None


def _pages(client: httpx.Client, url: str, **query: str) -> Iterator[dict[str, Any]]:
    params: dict[str, str | int] = {"limit": 100, **query}
    while True:
        page = _json(_send(client, "GET", url, params=params))
        yield from page["data"]
        if not page.get("has_more") or not page["data"]:
            return
        params["after"] = page["data"][-1]["id"]


def _user(client: httpx.Client) -> str:
    """Returns the user whose key this is."""
    return str(_json(_send(client, "GET", "/v1/me"))["id"])


def _headrace_fields(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the fields of an answer that are not OpenAI's."""
    return answer.get("headrace") or {}


def _owner(answer: Mapping[str, Any]) -> str | None:
    return _headrace_fields(answer).get("owner")


class _Console:
    """Progress as lines of a log."""

    def say(self, message: str, /) -> None:
        print(message, file=sys.stderr, flush=True)

    def pause(self, seconds: float, /) -> None:
        time.sleep(seconds)


def documents(folder: Path, *, every_kind: bool, say: Callable[[str], None]) -> dict[str, str]:
    """Returns path below `folder` -> SHA-256. Hidden files are left out, as are empty ones and, unless `every_kind`,
    those of kinds that cannot be read; it says so.

    Links are followed: a mounted ConfigMap consists of them. Raises `IngestError` when nothing is found.
    """
    found: dict[str, str] = {}
    left_out: list[str] = []
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(parent) in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for file in sorted(f for f in files if not f.startswith(".")):
            path = Path(parent, file)
            name = path.relative_to(folder).as_posix()
            if not every_kind and not is_document(path):
                left_out.append(name)
                continue
            content = path.read_bytes()
            if content:
                found[name] = hashlib.sha256(content).hexdigest()
            else:
                left_out.append(name)
    if left_out:
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        say(f"left out, empty or of another kind: {', '.join(left_out[:5])}{more}")
    if not found:
        raise IngestError(f"{folder} holds no documents")
    return found


def ingest(
    url: str, key: Path, name: str, folder: Path, *, every_kind: bool, wait_s: float, restricted: bool = False
) -> None:
    """Reconciles, and begins anew when the API goes away meanwhile. Raises `IngestError`."""
    progress = _Console()
    wanted = documents(folder, every_kind=every_kind, say=progress.say)
    deadline = time.monotonic() + wait_s
    said = ""
    while True:
        try:
            # Read at each try: a Secret's new content arrives in the mounted file.
            with connect(url, key.read_text(encoding="utf-8").strip()) as client:
                _, ingested, failed = reconcile(client, name, folder, wanted, progress, restricted=restricted)
            break
        except (Unavailable, OSError) as e:
            if time.monotonic() > deadline:
                raise IngestError(f"not within {wait_s:.0f} s: {e}") from e
            if str(e) != said:
                said = str(e)
                progress.say(f"waiting: {said}")
        progress.pause(RETRY_S)
    if failed:
        raise IngestError(f"{failures(name, len(wanted), failed)}\nthe others are ingested; mend or leave out these")
    progress.say(f"'{name}' holds {len(ingested)} documents")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m serving.ingest",
        description="Makes a collection equal to a folder of documents. What is equal already is left alone.",
        epilog="Exit status: 0 equal, 1 failed or some documents could not be ingested, 2 wrong arguments.",
    )
    parser.add_argument("--url", required=True, help="of the API, without /v1")
    parser.add_argument("--collection", required=True, help="its name, as assistants know it")
    parser.add_argument("--documents", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--key", required=True, type=Path, metavar="FILE", help="holds the API key")
    parser.add_argument(
        "--every-kind", action="store_true", help=f"also files that are none of {' '.join(sorted(folder_extensions()))}"
    )
    parser.add_argument(
        "--restricted", action="store_true", help="nobody but the key's user reads its documents through the API"
    )
    parser.add_argument(
        "--wait", type=float, default=1800, metavar="SECONDS", help="how long to wait for the API (%(default)s)"
    )
    given = parser.parse_args(arguments)
    try:
        ingest(
            given.url,
            given.key,
            given.collection,
            given.documents,
            every_kind=given.every_kind,
            wait_s=given.wait,
            restricted=given.restricted,
        )
    except (IngestError, OSError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; run it again to go on", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    end_at_term()
    sys.exit(main())
