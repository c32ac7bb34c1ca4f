"""Synchronises a collection with a folder, and waits for the API if it is not available yet."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from serving.core.signals import end_at_term
from serving.ingest.api import IngestError, Unavailable, connect
from serving.ingest.folder import documents
from serving.ingest.reconcile import failures, reconcile
from serving.retrieval.parsers import folder_extensions

RETRY_S = 2.0


class _Console:
    """Prints progress as log lines."""

    def say(self, message: str, /) -> None:
        print(message, file=sys.stderr, flush=True)

    def pause(self, seconds: float, /) -> None:
        time.sleep(seconds)


def ingest(
    url: str, key: Path, name: str, folder: Path, *, every_kind: bool, wait_s: float, restricted: bool = False
) -> None:
    """Reconciles, and starts again when the API becomes unavailable meanwhile. Raises `IngestError`."""
    progress = _Console()
    wanted = documents(folder, every_kind=every_kind, say=progress.say)
    deadline = time.monotonic() + wait_s
    said = ""
    while True:
        try:
            # Read for each attempt: the new content of a Secret reaches the mounted file later.
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
        raise IngestError(f"{failures(name, len(wanted), failed)}\nthe others are ingested; correct or remove these")
    progress.say(f"'{name}' has {len(ingested)} documents")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m serving.ingest",
        description="Makes a collection equal to a folder of documents. Unchanged documents are skipped.",
        epilog="Exit status: 0 equal, 1 failed or some documents could not be ingested, 2 wrong arguments.",
    )
    parser.add_argument("--url", required=True, help="URL of the API, without /v1")
    parser.add_argument("--collection", required=True, help="name of the collection, as assistants use it")
    parser.add_argument("--documents", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--key", required=True, type=Path, metavar="FILE", help="file with the API key")
    parser.add_argument(
        "--every-kind",
        action="store_true",
        help=f"also files with extensions other than {' '.join(sorted(folder_extensions()))}",
    )
    parser.add_argument(
        "--restricted", action="store_true", help="only the key's user can read its documents through the API"
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
        print("error: interrupted; run it again to continue", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    end_at_term()
    sys.exit(main())
