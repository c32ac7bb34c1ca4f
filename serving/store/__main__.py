"""`python -m serving.store`: migrate the schema, wait for it, back a stack up and restore it."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from serving.config import ServingConfig, Store
from serving.signals import end_at_term
from serving.store import archive
from serving.store.database import HEAD, Database
from serving.store.errors import InvalidValue, NewerDatabase, StoreError, StoreUnavailable

CONFIG = Path("/etc/headrace/config/serving.json")
RETRY_S = 1.0
EPILOG = """\
Exit status: 0 done, 1 failed (the last line says why), 2 wrong arguments.
The password of a PostgreSQL database comes from the configuration's store.password, else from PGPASSWORD; the
credentials of a bucket from the pod's workload identity, or from AWS_SHARED_CREDENTIALS_FILE (or AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY), GOOGLE_APPLICATION_CREDENTIALS or AZURE_STORAGE_ACCOUNT_KEY.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(_run(options, _store(options)))
    except (StoreError, InvalidValue, LookupError, OSError, ValidationError) as e:
        say(f"error: {e}")
        return 1
    except KeyboardInterrupt:
        say("error: interrupted")
        return 1
    return 0


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


async def _run(options: argparse.Namespace, store: Store) -> None:
    # What takes a while here takes longer than any request may.
    database = Database.of(store.model_copy(update={"statement_timeout_s": 3600.0}))
    try:
        match options.command:
            case "migrate":
                await patiently(database.migrate, options.timeout)
                say(f"the database has format {HEAD}")
            case "wait":
                await patiently(database.require_current, options.timeout)
                say(f"the database answers and has format {HEAD}")
            case "backup":
                path = await archive.backup(store, database, options.target, patience_s=options.patience, say=say)
                say(f"written: {path.stat().st_size:,} bytes")
                print(path)
            case "restore":
                await archive.restore(store, database, options.source, force=options.force, say=say)
                say("restored: start the stack, or restart it")
    finally:
        await database.close()


async def patiently(step: Callable[[], Awaitable[None]], timeout_s: float) -> None:
    """Repeats `step` while the database is not there yet, and says why when that changes.

    Raises `StoreUnavailable` after `timeout_s`, and at once for a database of a newer Headrace.
    """
    deadline = time.monotonic() + timeout_s
    said = ""
    while True:
        try:
            return await step()
        except NewerDatabase:
            raise
        except StoreUnavailable as e:
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"not within {timeout_s:.0f} s: {e}") from e
            if str(e) != said:
                said = str(e)
                say(f"waiting: {said}")
        await asyncio.sleep(RETRY_S)


def _store(options: argparse.Namespace) -> Store:
    if options.database or options.data:
        if not (options.database and options.data):
            raise LookupError("--database and --data belong together")
        return Store(database=options.database, data=options.data, endpoint=options.endpoint)
    try:
        return ServingConfig.model_validate_json(options.config.read_bytes()).store
    except OSError as e:
        raise LookupError(f"{options.config}: {e.strerror}; name a --config, or --database and --data") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.store",
        description="Works on the state of a stack: its database, files and collections.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--config", type=Path, default=CONFIG, help="the stack's ServingConfig, JSON (%(default)s)")
    where.add_argument("--database", help="instead of --config: sqlite:////path or postgresql://user@host/name")
    where.add_argument("--data", help="with --database: the data folder, or the bucket as in store.data")
    where.add_argument("--endpoint", help="with --data: URL of an object store that is not the cloud's own")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)

    def add(name: str, help: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help, description=help, parents=[where])

    migrate = add("migrate", "bring the schema up to date; a database that is not there yet is waited for")
    migrate.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="%(default)s by default")
    wait = add("wait", "wait until the database answers and its schema is this version's")
    wait.add_argument("--timeout", type=float, default=1800, metavar="SECONDS", help="%(default)s by default")
    backup = add("backup", "write all state into one archive, also while the stack runs")
    backup.add_argument("target", type=Path, help="the file to write, or a folder to write a file into")
    backup.add_argument(
        "--patience",
        type=float,
        default=600,
        metavar="SECONDS",
        help="longest wait for background work that runs (%(default)s)",
    )
    restore = add("restore", "make a stopped stack's state equal to an archive's")
    restore.add_argument("source", type=Path, help="the archive")
    restore.add_argument("--force", action="store_true", help="replace what is there")
    return parser


if __name__ == "__main__":
    end_at_term()
    sys.exit(main())
