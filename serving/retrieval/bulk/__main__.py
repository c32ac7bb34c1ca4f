"""`python -m serving.retrieval.bulk`: loads a folder into a collection, on a host with access to database and data."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from serving.core.confine import Unconfined
from serving.core.signals import end_at_term
from serving.retrieval.bulk.errors import BulkError
from serving.retrieval.sandbox import TokenizerUnreadable
from serving.store.errors import InvalidValue, StoreError
from serving.store.upkeep import options as store_options

SHOWN = 20
"""Number of failed documents that are listed by name."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        failed = _run(options)
    except (BulkError, StoreError, InvalidValue, OSError, ValidationError, Unconfined, TokenizerUnreadable) as e:
        say(f"error: {e}")
        return 1
    except KeyboardInterrupt:
        say("error: interrupted; run it again to continue")
        return 1
    for path, reason in sorted(failed.items())[:SHOWN]:
        say(f"  {path}: {reason}")
    if failed:
        say(f"error: {len(failed)} documents were not loaded; correct or remove them, and run it again")
    return 1 if failed else 0


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _run(options: argparse.Namespace) -> dict[str, str]:
    if not (options.here or options.dry_run):
        _start_ray(options)
    from serving.retrieval.bulk.command import run  # LanceDB starts threads, which must not exist when Ray forks.

    return asyncio.run(run(options, say))


def _start_ray(options: argparse.Namespace) -> None:
    if importlib.util.find_spec("pandas") is None:
        raise BulkError("Ray Data needs pandas: run `python -m tools.environment bulk`, or use --here")
    import ray

    own = {"num_cpus": options.processors, "include_dashboard": False} if options.address == "local" else {}
    try:
        ray.init(options.address, logging_level=logging.ERROR, log_to_driver=False, **own)
    except Exception as e:  # Ray's annotations allow any type
        raise BulkError(f"Ray: {e}") from e


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.retrieval.bulk",
        description="Loads the documents of a folder into a collection. Documents that are already in it are "
        "skipped, so that a load that was interrupted or killed continues where it stopped.",
        epilog="Exit status: 0 all documents are loaded, 1 failed or some documents could not be loaded, "
        "2 wrong arguments.",
    )
    parser.add_argument("folder", type=Path, help="folder with the documents, at the same path on each node")
    parser.add_argument("--collection", required=True, help="its name; it is created if it does not exist")
    parser.add_argument("--tenant", default="default", help="tenant that owns the collection (%(default)s)")
    parser.add_argument("--user", default="admin", help="user who owns the documents (%(default)s)")
    store_options.add_to(parser)
    parser.add_argument("--restricted", action="store_true", help="only the owner and these may read them:")
    parser.add_argument("--share-with-users", nargs="+", default=[], metavar="USER")
    parser.add_argument("--share-with-groups", nargs="+", default=[], metavar="GROUP")
    parser.add_argument("--batch", type=int, default=200, metavar="N", help="documents per commit (%(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="print how many documents remain, and change nothing")
    parser.add_argument("--here", action="store_true", help="work in this process, without Ray")
    parser.add_argument("--address", default="local", help="address of a Ray cluster to join (default: start one)")
    parser.add_argument("--processors", type=int, help="CPUs of the Ray that is started (default: all)")
    parser.add_argument("--embedders", type=int, default=1, help="actors that embed, each on one CPU (%(default)s)")
    return parser


if __name__ == "__main__":
    end_at_term()
    sys.exit(main())
