"""The audit log: actions on a stack and their actors, in a hash chain that reveals changes.

`python -m serving.security.audit` verifies the log, in the database or an exported file, and exports it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError

from serving.config import SecretRef, ServingConfig, Store
from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.signals import end_at_term
from serving.security.audit_export import AuditExport, Verification, anchor_of, parsed, verification, verify_export
from serving.store.audit import PLATFORM, AuditRows, Detail, Entry, Row, Selected, entry_of
from serving.store.audit_chain import Anchor, Verifier, anchor, as_document, chain_key
from serving.store.errors import InvalidValue, StoreError, StoreUnavailable
from serving.store.relational.database import Database
from serving.store.relational.rows import Page
from serving.store.upkeep.retention import DAY_S

log = logging.getLogger("headrace.audit")

FLUSH_S = 60.0
"""Interval at which counted actions become events."""

ANCHOR_S = 3600.0
"""Interval at which the ends of the chains are written to the process's log, which the database's owner
cannot change.
"""


MAX_COUNTED = 1000
"""Maximum number of kinds of events that are counted per interval; the others are counted as one."""

CONFIG = Path("/etc/headrace/config/serving.json")


class AuditLog:
    """Records events and verifies chains. `secret` is the stack's key secret, `previous` are earlier ones."""

    def __init__(self, database: Database, secret: str, previous: Sequence[str] = ()) -> None:
        self._key = chain_key(secret)
        self._keys = [chain_key(each) for each in (secret, *previous)]
        self._rows = AuditRows(database, self._key)
        self._export = AuditExport(self._rows, self._key)
        self._counted: Counter[tuple[str, str, str]] = Counter()
        self._anchored: dict[str, int] = {}
        self._hashing = asyncio.Lock()  # concurrent hashing in threads would leave the event loop little time

    def __repr__(self) -> str:
        return "AuditLog()"

    @property
    def key(self) -> bytes:
        """The key for `serving.store.audit.add`, for events that belong to another transaction."""
        return self._key

    async def record(
        self,
        principal: Principal,
        action: str,
        target: str | None = None,
        *,
        subject: str | None = None,
        outcome: str = "ok",
        detail: Detail | None = None,
        request_id: str | None = None,
        tenant: str | None = None,
    ) -> None:
        """Records an action of a principal, in its tenant's chain or that of `tenant`, and returns once it is durable.

        `target` is an id, `subject` the name of an affected user; `detail` has names, numbers and booleans, but no free
        text. Raises `StoreUnavailable`: an action that cannot be recorded must not take place.
        """
        entry = entry_of(
            principal,
            action,
            target=target,
            subject=subject,
            outcome=outcome,
            request_id=request_id,
            detail=detail,
            tenant=tenant,
        )
        await self._rows.append([entry])

    def count(self, action: str, reason: str, tenant: str = PLATFORM) -> None:
        """Counts an action that anybody can repeat without limit: it becomes one event per minute, with a number."""
        kind = (tenant, action, reason)
        if kind not in self._counted and len(self._counted) >= MAX_COUNTED:
            kind = (PLATFORM, action, "others")
        self._counted[kind] += 1

    async def flush(self) -> None:
        """Records the counts. If that fails, they are kept."""
        counted, self._counted = self._counted, Counter()
        entries = [
            Entry(tenant, action, outcome="denied", detail={"reason": reason, "count": count})
            for (tenant, action, reason), count in counted.items()
        ]
        try:
            if entries:
                await self._rows.append(entries)
        except StoreUnavailable as e:
            self._counted += counted
            log.warning("%d kinds of events cannot be recorded yet: %s", len(counted), e)

    async def keep(self, days: float | None) -> None:
        """Flushes counts and logs anchors until cancelled, and removes events that are older than `days`."""
        since = 0.0
        while True:
            await asyncio.sleep(FLUSH_S)
            since += FLUSH_S
            try:
                await self.flush()
                if since >= ANCHOR_S:
                    since = 0.0
                    await self._say_anchors()
                    if days is not None:
                        await self.prune(days * DAY_S)
            except Exception as e:  # it must survive any problem of the database
                log.warning(
                    "the audit log could not be maintained: %s", e, exc_info=not isinstance(e, StoreUnavailable)
                )

    async def _say_anchors(self) -> None:
        for made in await self.anchors():
            if self._anchored.get(made.tenant) != made.seq:
                self._anchored[made.tenant] = made.seq
                log.info("anchors of the audit log: %s", json.dumps({"anchor": as_document(made)}))

    async def page(self, tenant: str, **query: Any) -> Page[Row]:
        """As `AuditRows.page`."""
        return await self._rows.page(tenant, **query)

    async def pseudonym(self, tenant: str, user: str) -> str:
        """As `AuditRows.pseudonym`."""
        return await self._rows.pseudonym(tenant, user)

    async def known_pseudonym(self, tenant: str, user: str) -> str | None:
        """As `AuditRows.known_pseudonym`."""
        return await self._rows.known_pseudonym(tenant, user)

    async def prune(self, older_than_s: float) -> int:
        """As `AuditRows.prune`."""
        return await self._rows.prune(older_than_s)

    def events(self, tenant: str) -> AsyncIterator[Row]:
        """As `AuditRows.events`."""
        return self._rows.events(tenant)

    def export(self, tenant: str, which: Selected | None = None) -> AsyncIterator[bytes]:
        """As `AuditExport.lines`."""
        return self._export.lines(tenant, which)

    async def tenants(self) -> list[str]:
        """Returns the tenants with chains."""
        return sorted(await self._rows.heads())

    async def anchors(self) -> list[Anchor]:
        """Returns an anchor of each chain: store them where the database's owner cannot write."""
        at = int(now() * 1000)
        return [anchor(self._key, tenant, *head, at) for tenant, head in sorted((await self._rows.heads()).items())]

    async def verify(self, tenant: str, anchors: Sequence[Anchor] = ()) -> Verification:
        """Verifies a whole chain and returns its problems. Other tasks can run in between."""
        verifier = Verifier(self._keys, tenant, anchors)
        async for events in self._rows.batches(tenant):
            async with self._hashing:
                await asyncio.to_thread(verifier.read_all, events)
        return verification(tenant, verifier)


async def export(audit: AuditLog, tenants: Sequence[str], out: TextIO) -> int:
    """Writes chains as JSON Lines, one event per line, with an anchor after each chain. Returns the number
    of events.
    """
    count = 0
    for tenant in tenants:
        written = 0
        async for lines in audit.export(tenant):
            out.write(lines.decode())
            written += lines.count(b"\n")
        count += max(written - 1, 0)  # the last is the anchor
    return count


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns 0 if all chains are unchanged, 1 if one was changed, 2 if that cannot be determined."""
    options = _parser().parse_args(arguments)
    try:
        return asyncio.run(_run(options))
    except (StoreError, InvalidValue, LookupError, OSError, ValidationError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2


async def _run(options: argparse.Namespace) -> int:
    if options.command == "verify" and options.file is not None:
        anchors = list(_anchors(options))
        with options.file.open(encoding="utf-8") as lines:
            keys = [chain_key(secret) for secret in _configured(options)[1]]
            return _report(verify_export(keys, lines, anchors))
    store, (secret, *previous) = _configured(options)
    if store is None:
        raise LookupError("name a --config, or --database and --key-secret")
    database = Database.from_config(store.model_copy(update={"statement_timeout_s": 3600.0}))
    try:
        await database.require_current()
        audit = AuditLog(database, secret, previous)
        tenants = [options.tenant] if options.tenant is not None else await audit.tenants()
        match options.command:
            case "verify":
                anchors = [a for a in _anchors(options) if options.tenant in (None, a.tenant)]
                known = sorted({*tenants, *(a.tenant for a in anchors)})
                return _report([await audit.verify(tenant, anchors) for tenant in known])
            case "anchor":
                for made in await audit.anchors():
                    if made.tenant in tenants:
                        print(json.dumps({"anchor": as_document(made)}, sort_keys=True))
            case "export":
                with options.out.open("x", encoding="utf-8") as out:
                    options.out.chmod(0o600)
                    count = await export(audit, tenants, out)
                print(f"{count} events of {len(tenants)} chains", file=sys.stderr)
    finally:
        await database.close()
    return 0


def _report(found: Sequence[Verification]) -> int:
    for chain in found:
        name = chain.tenant or "(platform)"
        print(f"{name}: {chain.events} events, the last is {chain.head[0]}, {len(chain.problems)} problems")
        if chain.unchecked:
            print(f"{name}: {chain.unchecked} cannot be checked with the given keys: give older ones too")
        for problem in chain.problems:
            print(f"{name}: event {problem.seq} {problem.message}")
    if any(chain.problems for chain in found):
        return 1
    return 0 if all(chain.valid for chain in found) else 2


def _anchors(options: argparse.Namespace) -> Iterator[Anchor]:
    for path in options.anchors:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            # Lines of an export are accepted too, and lines of a process's log from the brace on.
            found = anchor_of(parsed(number, line[max(line.find("{"), 0) :]))
            if found is not None:
                yield found


def _configured(options: argparse.Namespace) -> tuple[Store | None, list[str]]:
    """Returns the store of the log, and the key secrets, newest first."""
    previous = [_secret(path) for path in options.previous_key]
    if options.key_secret is not None:
        store = Store(database=options.database, data="/nowhere") if options.database is not None else None
        return store, [_secret(options.key_secret), *previous]
    try:
        config = ServingConfig.model_validate_json(options.config.read_bytes())
    except OSError as e:
        raise LookupError(f"{options.config}: {e.strerror}; name a --config, or --key-secret") from None
    if config.key_secret_previous is not None:
        previous.insert(0, config.key_secret_previous.read())
    return config.store, [config.key_secret.read(), *previous]


def _secret(path: Path) -> str:
    return SecretRef(ref=f"file:{path.absolute()}").read()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.security.audit",
        description="Verifies and exports a stack's audit log, and prints its anchors.",
        epilog="Exit status: 0 all is well, 1 a chain was changed, 2 this could not be checked, for example "
        "because the key of some events was not given.",
    )
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--config", type=Path, default=CONFIG, help="the stack's ServingConfig, JSON (%(default)s)")
    where.add_argument("--database", help="instead of --config: sqlite:////path or postgresql://user@host/name")
    where.add_argument("--key-secret", type=Path, metavar="FILE", help="instead of --config: the stack's key secret")
    where.add_argument(
        "--previous-key",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a key secret that the stack had before; may be given several times",
    )
    where.add_argument("--tenant", help="one tenant's chain, '' the platform's; all of them by default")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)

    def add(name: str, help: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help, description=help, parents=[where])

    verify = add("verify", "check whether events were changed, inserted, moved or removed")
    verify.add_argument("--file", type=Path, help="an export instead of the database")
    verify.add_argument(
        "--anchors",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="output of an earlier `anchor` or `export`",
    )
    add("anchor", "print an anchor of each chain: stored elsewhere, it reveals a later truncation of the chain")
    out = add("export", "write chains as JSON Lines into a new file")
    out.add_argument("out", type=Path, help="the file")
    return parser


if __name__ == "__main__":
    end_at_term()
    sys.exit(main())
