"""Synchronises a collection with a folder or another source, and waits for the API if it is not available yet."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from serving.core.signals import end_at_term
from serving.ingest.api import IngestError, Unavailable, connect
from serving.ingest.folder import FolderSource, documents
from serving.ingest.reconcile import failures, reconcile
from serving.ingest.source import DocumentSource
from serving.retrieval.parsers import folder_extensions

RETRY_S = 2.0
OPTIONS = {
    "bucket": ("--endpoint", "--s3-region"),
    "repository": ("--ref", "--subfolder"),
    "web site": ("--depth", "--delay", "--max-pages", "--max-bytes", "--allow-private", "--ignore-lastmod"),
}
"""The options of one kind of source alone, by that kind."""


class _Console:
    """Prints progress as log lines."""

    def say(self, message: str, /) -> None:
        print(message, file=sys.stderr, flush=True)

    def pause(self, seconds: float, /) -> None:
        time.sleep(seconds)


def ingest(url: str, key: Path, name: str, source: DocumentSource, *, wait_s: float, restricted: bool = False) -> None:
    """Reconciles, and starts again when the API becomes unavailable meanwhile. Raises `IngestError`."""
    progress = _Console()
    deadline = time.monotonic() + wait_s
    said = ""
    while True:
        try:
            # Read for each attempt: the new content of a Secret reaches the mounted file later.
            with connect(url, key.read_text(encoding="utf-8").strip()) as client:
                done = reconcile(client, name, source, progress, restricted=restricted)
            break
        except (Unavailable, OSError) as e:
            if time.monotonic() > deadline:
                raise IngestError(f"not within {wait_s:.0f} s: {e}") from e
            if str(e) != said:
                said = str(e)
                progress.say(f"waiting: {said}")
        progress.pause(RETRY_S)
    wrong = []
    if done.cut:
        wrong.append(f"{done.cut}\nthe listing is not complete, so nothing was removed")
    if done.failed:
        count = len(done.ingested) + len(done.failed)
        wrong.append(f"{failures(name, count, done.failed)}\nthe others are ingested; correct or remove these")
    if wrong:
        raise IngestError("\n".join(wrong))
    progress.say(f"'{name}' has {len(done.ingested)} documents")


def _kind(given: argparse.Namespace) -> str:
    """Returns the kind of source that the arguments name. Raises `IngestError` for an address of no kind."""
    scheme, separator, _ = given.documents.partition("://")
    if scheme in ("git+https", "git+http", "git+ssh", "git+file") or (given.ref is not None and not separator):
        return "repository"
    if not separator:
        return "folder"
    if scheme in ("s3", "gs", "az"):
        return "bucket"
    if scheme in ("http", "https"):
        return "web site"
    raise IngestError(
        f"--documents: '{given.documents}' is neither a folder nor s3://, gs://, az://, https:// or git+https://"
    )


def _source(given: argparse.Namespace, kind: str) -> DocumentSource:
    """Returns the source, which is of `kind`. Raises `IngestError` when it cannot be used."""
    say = _Console().say
    where: str = given.documents
    if kind == "repository":
        from serving.ingest.repository import RepositorySource

        return RepositorySource(where, given.ref or "HEAD", given.subfolder, every_kind=given.every_kind, say=say)
    if kind == "bucket":
        from serving.ingest.bucket import BucketSource  # slow to import, and not needed for folders

        return BucketSource(where, given.endpoint, given.s3_region, every_kind=given.every_kind, say=say)
    if kind == "web site":
        from serving.ingest.site import SiteOptions, SiteSource

        options = SiteOptions(
            given.depth,
            given.delay,
            given.max_pages,
            given.max_bytes,
            given.allow_private,
            not given.ignore_lastmod,
            given.every_kind,
        )
        return SiteSource(where, options, say=say)
    return FolderSource(Path(where), documents(Path(where), every_kind=given.every_kind, say=say))


def _check_options(parser: argparse.ArgumentParser, given: argparse.Namespace, kind: str) -> None:
    """Ends the program, as for other wrong arguments, because of an option that sources of `kind` would ignore."""
    for other, options in OPTIONS.items():
        for option in options:
            destination = option.removeprefix("--").replace("-", "_")
            if other != kind and getattr(given, destination) != parser.get_default(destination):
                parser.error(f"{option} is for a {other}, and --documents names a {kind}")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds between 0 and 3600")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m serving.ingest",
        description="Makes a collection equal to the documents of a source.",
        epilog="Exit status: 0 equal, 1 failed or some documents could not be ingested, 2 wrong arguments.",
    )
    parser.add_argument("--url", required=True, help="URL of the API, without /v1")
    parser.add_argument("--collection", required=True, help="name of the collection, as assistants use it")
    parser.add_argument(
        "--documents",
        required=True,
        metavar="SOURCE",
        help="folder, s3://bucket/prefix, gs://bucket/prefix, az://account/container/prefix, https://host/path,"
        " git+https://host/repository, or the path of a repository with --ref",
    )
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
    buckets = parser.add_argument_group("buckets")
    buckets.add_argument("--endpoint", metavar="URL", help="of an object store that is not the cloud's own")
    buckets.add_argument("--s3-region", metavar="REGION", help="region of the bucket (default: AWS_REGION)")
    repositories = parser.add_argument_group("Git repositories")
    repositories.add_argument("--ref", help="branch, tag or commit (default of a URL: HEAD)")
    repositories.add_argument("--subfolder", default="", metavar="PATH", help="only the files below it")
    sites = parser.add_argument_group("web sites")
    sites.add_argument("--depth", type=_count, metavar="LINKS", help="follow links so far, instead of the sitemap")
    sites.add_argument("--delay", type=_seconds, default=0.5, metavar="SECONDS", help="between requests (%(default)s)")
    sites.add_argument("--max-pages", type=_count, default=10_000, metavar="PAGES", help="(%(default)s)")
    sites.add_argument("--max-bytes", type=_count, default=2_000_000_000, metavar="BYTES", help="(%(default)s)")
    sites.add_argument("--allow-private", action="store_true", help="the site may have a private address")
    sites.add_argument("--ignore-lastmod", action="store_true", help="ask for pages that the sitemap calls unchanged")
    given = parser.parse_args(arguments)
    try:
        kind = _kind(given)
        _check_options(parser, given, kind)
        ingest(
            given.url,
            given.key,
            given.collection,
            _source(given, kind),
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
