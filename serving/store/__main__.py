"""`python -m serving.store`: migrates the schema, backs a stack up and restores it, and exports feedback."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from serving.config import SecretRef, Store
from serving.core.signals import end_at_term
from serving.exports import splits
from serving.exports.export import Order, Redact
from serving.exports.forgetting import forget
from serving.exports.formats import FORMATS
from serving.exports.manifest import Filters
from serving.exports.register import Register
from serving.exports.writing import write
from serving.store.errors import InvalidValue, NewerDatabase, StoreError, StoreUnavailable, UnreleasedDatabase
from serving.store.objects import sealed
from serving.store.relational.database import Database
from serving.store.relational.migration import HEAD
from serving.store.upkeep import archive
from serving.store.upkeep import options as store_options

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
        if options.command == "key":
            sealed.write_key(options.file)
        else:
            asyncio.run(_run(options, store_options.chosen(options)))
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
    # Operations here may take longer than any request.
    database = Database.from_config(store.model_copy(update={"statement_timeout_s": 3600.0}))
    try:
        match options.command:
            case "migrate":
                await patiently(database.migrate, options.timeout)
                say(f"the database has format {HEAD}")
            case "wait":
                await patiently(database.require_current, options.timeout)
                say(f"the database answers and has format {HEAD}")
            case "backup":
                path = await archive.backup(
                    store, database, options.target, patience_s=options.patience, say=say, key=_key(options.key)
                )
                say(f"written: {path.stat().st_size:,} bytes")
                print(path)
            case "restore":
                await archive.restore(
                    store, database, options.source, force=options.force, say=say, key=_key(options.key)
                )
                say("restored: start the stack, or restart it")
            case "export":
                await database.require_current()
                await _export(options, database)
            case "forget-export":
                await database.require_current()
                await _forget(options, database)
    finally:
        await database.close()


async def _forget(options: argparse.Namespace, database: Database) -> None:
    folder = options.folder.absolute()
    register = Register(database)
    for one in await register.unfinished(options.tenant):
        if one.folder == str(folder):
            await register.take_over(one, here=True)
    if folder.exists():
        say(f"{forget(folder, options.tenant, options.user)} rows of the user were removed")
    else:
        say(f"{folder} does not exist: it counts as deleted")
    for one in await register.holding(options.tenant, options.user):
        if one.folder == str(folder):
            await register.forgotten(one, options.user)


async def _export(options: argparse.Namespace, database: Database) -> None:
    filters = Filters(
        tenant=options.tenant,
        since=options.since,
        until=options.until,
        assistant=options.assistant,
        model=options.model,
        min_score=options.min_score,
        tags=tuple(options.tags),
    )
    order = Order(options.format, filters, splits.parse(options.split), options.seed, dict(options.licence))
    redactor = _redactor() if options.redact else None
    manifest = await write(database, order, options.out, redactor)
    for name, count in manifest.counts.model_dump().items():
        say(f"{count} {name.replace('_', ' ')}")
    for model in sorted({version.model for version in manifest.models if version.licence is None}):
        say(f"the licence of {model} is unknown: set --licence {model}=…")
    print(options.out)


def _redactor() -> Redact:
    try:
        from serving.exports.redaction import Redactor
    except ImportError as e:
        raise LookupError(
            f"redaction needs {e.name}: run `python -m tools.environment redaction`, or use --no-redact"
        ) from None
    return Redactor()


async def patiently(step: Callable[[], Awaitable[None]], timeout_s: float) -> None:
    """Repeats `step` while the database is unavailable, and prints the reason when it changes.

    Raises `StoreUnavailable` after `timeout_s`, and immediately for a database that waiting does not help: one of a
    newer or an unreleased version of Headrace.
    """
    deadline = time.monotonic() + timeout_s
    said = ""
    while True:
        try:
            return await step()
        except (NewerDatabase, UnreleasedDatabase):
            raise
        except StoreUnavailable as e:
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"not within {timeout_s:.0f} s: {e}") from e
            if str(e) != said:
                said = str(e)
                say(f"waiting: {said}")
        await asyncio.sleep(RETRY_S)


def _key(given: str | None) -> bytes | None:
    if given is None:
        return None
    ref = given if given.startswith("env:") else f"file:{Path(given).absolute()}"
    return sealed.read_key(SecretRef(ref=ref).read())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.store",
        description="Manages the state of a stack: its database, files and collections.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = argparse.ArgumentParser(add_help=False)
    store_options.add_to(where)
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)

    def add(name: str, help: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help, description=help, parents=[where])

    migrate = add("migrate", "migrate the schema; waits for the database")
    migrate.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="%(default)s by default")
    wait = add("wait", "wait until the database answers and has this version's schema")
    wait.add_argument("--timeout", type=float, default=1800, metavar="SECONDS", help="%(default)s by default")
    backup = add("backup", "write all state to one archive; the stack may be running")
    backup.add_argument("target", type=Path, help="the file to write, or a folder to write a file into")
    backup.add_argument(
        "--patience",
        type=float,
        default=600,
        metavar="SECONDS",
        help="timeout of waiting for running background jobs (%(default)s)",
    )
    key = commands.add_parser("key", help="write a new key for encrypted backups to a file")
    key.add_argument("file", type=Path, help="the file to write")
    restore = add("restore", "restore the state of a stopped stack from an archive")
    restore.add_argument("source", type=Path, help="the archive")
    restore.add_argument("--force", action="store_true", help="replace existing data")
    forgetting = add("forget-export", "remove a user from an export on this host")
    forgetting.add_argument("folder", type=Path, help="the export's folder")
    forgetting.add_argument("--user", required=True, help="the user to remove")
    forgetting.add_argument("--tenant", default="default", help="the user's tenant (%(default)s)")
    for command in (backup, restore):
        command.add_argument(
            "--key", metavar="KEY", help="key of the encrypted archive: a file written by `key`, or env:NAME"
        )
    out = add("export", "write feedback as training data, with consent, to a new folder")
    out.add_argument("--format", required=True, choices=FORMATS, help="format of the rows")
    out.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="is created; may exist if it is empty")
    out.add_argument("--tenant", default="default", help="tenant of the completions (%(default)s)")
    out.add_argument(
        "--since", type=_time, metavar="TIME", help="start time, such as 2026-05-01 or 2026-05-01T12:00+02:00"
    )
    out.add_argument("--until", type=_time, metavar="TIME", help="end time, exclusive; UTC by default")
    out.add_argument("--assistant", help="only answers of this assistant")
    out.add_argument("--model", help="only answers of this model")
    out.add_argument("--min-score", type=_share, default=0.5, metavar="0..1", help="minimum good score (%(default)s)")
    out.add_argument("--tags", nargs="+", default=[], metavar="TAG", help="only ratings with one of these tags")
    out.add_argument(
        "--split", default="train=0.9,test=0.1", metavar="SHARES", help="shares of the sessions (%(default)s)"
    )
    out.add_argument("--seed", type=int, default=0, help="seed of the assignment to splits (%(default)s)")
    out.add_argument(
        "--licence",
        type=_licence,
        action="append",
        default=[],
        metavar="MODEL=SPDX",
        help="licence of a model's base, for the manifest",
    )
    out.add_argument(
        "--redact",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="replace personal data and secrets by their kind",
    )
    return parser


def _time(text: str) -> float:
    """Returns unix seconds for a date or time in ISO 8601."""
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def _licence(text: str) -> tuple[str, str]:
    model, _, licence = text.partition("=")
    if not model or not licence:
        raise ValueError
    return model, licence


if __name__ == "__main__":
    end_at_term()
    sys.exit(main())
