"""What `make up` does with collections that were left alone: they were checked all the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infra.config import Knowledge
from infra.documents import documents
from serving.ingest import IngestError, check, connect
from tools.report import say


def note_checks(knowledge: Sequence[Knowledge], root: Path, url: str, key: str) -> None:
    """Notes in the stack which collections equal their documents, paths of which are relative to `root`.

    Pulumi asks nothing of a collection whose documents are as they were, and so does not note it.
    """
    with connect(url, key) as client:
        for collection in knowledge:
            try:
                check(client, collection.name, documents(root, collection.paths))
            except (IngestError, LookupError, OSError) as e:
                say(f"collection {collection.name} could not be checked: {e}")
