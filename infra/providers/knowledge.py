"""A knowledge collection, synchronized with files of this checkout through the HTTP API."""

from __future__ import annotations

from pathlib import Path

import httpx

from infra.resources.problem import Problem
from infra.resources.resource import Found, Resource, Task, Values, strings
from serving.ingest.api import IngestError, connect
from serving.ingest.collection import Collection
from serving.ingest.folder import FolderSource
from serving.ingest.reconcile import failures, reconcile


class KnowledgeProvider(Resource):
    """Inputs: `url` (of the API), `key_path` (file with the API key), `collection` (name), `root` (folder),
    `documents` (path below root -> SHA-256), `restricted` (whether only the stack can read it through the API),
    `on_error` (`error` or `warn`).

    Outputs: `documents`, without those that failed, so that the next `up` tries them again; `vector_store` (id).
    """

    replace_on = frozenset({"collection"})
    computed = frozenset({"vector_store"})

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        name, wanted = new["collection"], strings(new["documents"])
        try:
            with _client(new) as client:
                source = FolderSource(Path(new["root"]), wanted)
                done = reconcile(client, name, source, task, restricted=new["restricted"])
        except IngestError as e:
            raise Problem(str(e)) from e
        if done.failed:
            message = failures(name, len(wanted), done.failed)
            if new.get("on_error") != "warn":
                raise Problem(
                    f"{message}\nthe other documents were ingested; correct or remove these, or set on_error: warn"
                )
            task.say(message)
        return done.id, {**new, "documents": dict(done.ingested), "vector_store": done.id}

    def read(self, id: str, old: Values) -> Found:
        try:
            with _client(old) as client:
                collection = Collection.find(client, old["collection"])
                if collection is None:
                    return Found()
                ingested = {d.path: d.sha256 for d in collection.documents() if d.status == "completed"}
        except (OSError, IngestError):
            return Found(id, old)  # the API is down: assume that nothing has changed
        return Found(collection.id, {**old, "documents": ingested, "vector_store": collection.id})

    def delete(self, id: str, old: Values, task: Task) -> None:
        try:
            with _client(old) as client:
                if collection := Collection.find(client, old["collection"]):
                    collection.drop()
        except (OSError, IngestError) as e:
            # A broken stack must be possible to destroy; the collection's data stays in the data folder.
            task.say(f"collection {old['collection']} was not deleted from the data folder: {e}")


def _client(values: Values) -> httpx.Client:
    return connect(values["url"], Path(values["key_path"]).read_text().strip())
