"""`python -m serving.retrieval.bulk`: loads a folder into a collection where the database and the data are in reach."""

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
"""Documents that failed, of which each is named."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        failed = _run(options)
    except (BulkError, StoreError, InvalidValue, OSError, ValidationError, Unconfined, TokenizerUnreadable) as e:
        say(f"error: {e}")
        return 1
    except KeyboardInterrupt:
        say("error: interrupted; run it again to go on")
        return 1
    for path, reason in sorted(failed.items())[:SHOWN]:
        say(f"  {path}: {reason}")
    if failed:
        say(f"error: {len(failed)} documents were not loaded; mend or remove them and run it again")
    return 1 if failed else 0


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _run(options: argparse.Namespace) -> dict[str, str]:
    if not (options.here or options.dry_run):
        _start_ray(options)
    from serving.retrieval.bulk.command import run  # LanceDB, whose threads are not for Ray's forks

    return asyncio.run(run(options, say))


def _start_ray(options: argparse.Namespace) -> None:
    if importlib.util.find_spec("pandas") is None:
        raise BulkError("Ray Data needs pandas: run `python -m tools.environment bulk`, or say --here")
    import ray

    own = {"num_cpus": options.processors, "include_dashboard": False} if options.address == "local" else {}
    try:
        ray.init(options.address, logging_level=logging.ERROR, log_to_driver=False, **own)
    except Exception as e:  # of any type, as Ray has it
        raise BulkError(f"Ray: {e}") from e


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.retrieval.bulk",
        description="Loads the documents of a folder into a collection. What is there already is left alone, so that "
        "a load that was interrupted, or killed, goes on where it was.",
        epilog="Exit status: 0 all are there, 1 failed or some documents could not be loaded, 2 wrong arguments.",
    )
    parser.add_argument("folder", type=Path, help="where the documents are; on several nodes, at the same path on each")
    parser.add_argument("--collection", required=True, help="its name; it is made if the user has none of this name")
    parser.add_argument("--tenant", default="default", help="whose collection it is (%(default)s)")
    parser.add_argument("--user", default="admin", help="whose the documents become (%(default)s)")
    store_options.add_to(parser)
    parser.add_argument("--restricted", action="store_true", help="only the user reads them, and whom these name:")
    parser.add_argument("--share-with-users", nargs="+", default=[], metavar="USER")
    parser.add_argument("--share-with-groups", nargs="+", default=[], metavar="GROUP")
    parser.add_argument("--batch", type=int, default=200, metavar="N", help="documents of a commit (%(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="say what is left to do, and do nothing")
    parser.add_argument("--here", action="store_true", help="in this process, without Ray")
    parser.add_argument("--address", default="local", help="of a Ray to join (default: one of its own)")
    parser.add_argument("--processors", type=int, help="of a Ray of its own (default: all)")
    parser.add_argument("--embedders", type=int, default=1, help="actors that embed, each on a processor (%(default)s)")
    return parser


if __name__ == "__main__":
    end_at_term()
    sys.exit(main())
