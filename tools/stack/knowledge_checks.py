"""Records that configured collections still equal their documents, which Pulumi does not for unchanged ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infra.config import Knowledge
from infra.documents import documents
from serving.ingest.api import IngestError, connect
from serving.ingest.reconcile import check
from tools.report import say


def record_checks(knowledge: Sequence[Knowledge], root: Path, url: str, key: str) -> None:
    """Checks each collection against its documents and records in the stack when it equals them.

    Pulumi sends no request for a collection whose documents have not changed, so the stack would take it for unchecked.
    Paths are relative to `root`.
    """
    with connect(url, key) as client:
        for collection in knowledge:
            try:
                check(client, collection.name, documents(root, collection.paths))
            except (IngestError, LookupError, OSError) as e:
                say(f"collection {collection.name} could not be checked: {e}")
