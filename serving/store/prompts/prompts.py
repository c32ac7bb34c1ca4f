"""The prompts of all tenants. Everybody in the tenant may read one; its owner and the tenant's admins may change it.

A version never changes. A label points to one version and is moved in one transaction; each request reads it, so that a
moved label takes effect immediately on every gateway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store.access import reachable, require_owner
from serving.store.errors import Conflict, InvalidValue, NotFound
from serving.store.prompts.records import (
    MAX_DESCRIPTION,
    MAX_NUMBER,
    MAX_TEXT,
    PromptLabel,
    PromptVersion,
    StoredPrompt,
)
from serving.store.relational.counted_bytes import text_bytes
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.rows import Order, Page, build, build_page, page
from serving.store.relational.tables import (
    Name,
    assistant_versions,
    assistants,
    prompt_labels,
    prompt_versions,
    prompts,
)

MAX_PAGE = 100

MAX_PROMPTS = 200
"""Maximum number of prompts of one tenant."""

MAX_VERSIONS = 200
"""Maximum number of versions of one prompt."""

MAX_BYTES = 20_000_000
"""Maximum number of bytes of the texts of all versions of a tenant's prompts."""

MAX_LABELS = 32
"""Maximum number of labels of one prompt."""

PRODUCTION = "production"
"""The label that is used where none is named."""

LATEST = "latest"
"""The newest version; no label has this name."""

_OPENING = 500
"""Maximum number of characters of an opening."""

_NAMED = 5
"""Maximum number of assistants that a refusal names."""


class Prompts:
    """The prompts of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def create(
        self,
        principal: Principal,
        name: str,
        description: str,
        text: str,
        variables: Sequence[str],
        *,
        trusted: bool = False,
    ) -> StoredPrompt:
        """Creates a prompt with its first version; raises `Conflict` if the tenant has one of this name.

        `variables` are the names in `text`, and `trusted` tells whether the principal is trusted with instructions.
        """
        at = now()
        row = {
            "id": new_id("pmpt"),
            "tenant": principal.tenant,
            "user": principal.user,
            "name": values.text("name", name, min_length=1),
            "description": values.text("description", description, max_length=MAX_DESCRIPTION),
            "version": 1,
            "created_at": at,
            "updated_at": at,
        }
        mine = prompts.c.tenant == principal.tenant
        async with self._database.write() as connection:
            await lock(connection, "prompts", principal.tenant)
            if (await connection.execute(select(prompts.c.id).where(mine, prompts.c.name == name))).first():
                raise Conflict("the tenant already has a prompt of this name")
            if (await connection.execute(select(func.count()).where(mine))).scalar_one() >= MAX_PROMPTS:
                raise InvalidValue("name", f"the tenant already has {MAX_PROMPTS} prompts; delete some")
            await connection.execute(prompts.insert().values(row))
            await _add(connection, principal, str(row["id"]), 1, text, variables, trusted=trusted)
        return build(StoredPrompt, row, labels={})  # type: ignore[arg-type]  # a row is a mapping

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> StoredPrompt:
        """Returns a prompt; raises `NotFound`."""
        async with self._database.read() as connection:
            return await _get(connection, principal, id)

    @uninterrupted
    async def list(
        self, principal: Principal, *, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[StoredPrompt]:
        """Returns the tenant's prompts."""
        async with self._database.read() as connection:
            found = await page(
                connection,
                select(prompts),
                prompts,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order=order,
            )
            labels = await _labels(connection, [row["id"] for row in found.items])
        items = [build(StoredPrompt, row, labels=labels.get(row["id"], {})) for row in found.items]
        return Page(items, found.has_more)

    @uninterrupted
    async def openings(self, principal: Principal, some: Sequence[StoredPrompt]) -> Mapping[str, str]:
        """Returns how the text begins, by the prompt's id, that a request gets which names no version."""
        of = prompt_versions.c
        used = [(prompt.id, prompt.labels.get(PRODUCTION, prompt.version)) for prompt in some]
        query = select(of.prompt_id, func.substr(of.text, 1, _OPENING).label("opening")).where(
            of.tenant == principal.tenant, tuple_(of.prompt_id, of.version).in_(used)
        )
        async with self._database.read() as connection:
            return {row.prompt_id: row.opening for row in await connection.execute(query)}

    @uninterrupted
    async def describe(self, principal: Principal, id: str, description: str) -> StoredPrompt:
        """Changes a prompt's description. Raises `NotFound` and `NotOwner`."""
        values.text("description", description, max_length=MAX_DESCRIPTION)
        async with self._database.write() as connection:
            await _require_change(connection, principal, id)
            await _touch(connection, id, description=description)
            return await _get(connection, principal, id)

    @uninterrupted
    async def delete(self, principal: Principal, id: str) -> None:
        """Deletes a prompt with its versions. Raises `NotFound` and `NotOwner`, and `Conflict` while the active version
        of an assistant names it.
        """
        async with self._database.write() as connection:
            await _require_change(connection, principal, id)
            if named := await _assistants_naming(connection, principal, id):
                raise Conflict(f"assistants use this prompt ({named}): change or delete them first")
            await connection.execute(prompts.delete().where(prompts.c.id == id))

    @uninterrupted
    async def add_version(
        self, principal: Principal, id: str, text: str, variables: Sequence[str], *, trusted: bool = False
    ) -> PromptVersion:
        """Adds the next version, to which no label points yet. Raises `NotFound` and `NotOwner`."""
        async with self._database.write() as connection:
            number = await _require_change(connection, principal, id) + 1
            if number > MAX_VERSIONS:
                raise Conflict(f"a prompt has at most {MAX_VERSIONS} versions; create another prompt")
            await _touch(connection, id, version=number)
            return await _add(connection, principal, id, number, text, variables, trusted=trusted)

    @uninterrupted
    async def list_versions(
        self, principal: Principal, id: str, *, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[PromptVersion]:
        """Returns a prompt's versions; raises `NotFound`."""
        async with self._database.read() as connection:
            await _get(connection, principal, id)
            found = await page(
                connection,
                select(prompt_versions),
                prompt_versions,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order=order,
                order_column="version",
                within=prompt_versions.c.prompt_id == id,
            )
        return build_page(PromptVersion, found)

    @uninterrupted
    async def version(
        self, principal: Principal, id: str, asked: str | None = None, *, at: str = "", param: str | None = None
    ) -> PromptVersion:
        """Returns the version that a number or a label names.

        None stands for the label `production`, or else for the newest version. Raises `NotFound`, also for the version;
        the fields of the request that name them begin with `at`, or `param` names the version alone.
        """
        of = prompt_versions.c
        async with self._database.read() as connection:
            newest = select(prompts.c.version).where(prompts.c.id == id, prompts.c.tenant == principal.tenant)
            number: int | None = (await connection.execute(newest)).scalar()
            if number is None:
                raise NotFound("prompt", id, f"{at}id" if at else None)
            if asked is not None and asked.isascii() and asked.isdigit():
                number = int(asked) if len(asked) <= len(str(MAX_NUMBER)) else 0
            elif asked != LATEST:
                label = _label(id, asked or PRODUCTION)
                pointed = (await connection.execute(select(prompt_labels.c.version).where(label))).scalar()
                number = pointed if pointed is not None or asked is not None else number
            query = select(prompt_versions).where(of.prompt_id == id, of.version == number)
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise NotFound("version or label of the prompt", id, f"{at}version" if at else param)
        return build(PromptVersion, row)

    @uninterrupted
    async def set_label(
        self, principal: Principal, id: str, name: str, version: int, *, expected: int | None = None
    ) -> PromptLabel:
        """Points a label to a version.

        With `expected`, only if it points to that version now, or with 0 to none; otherwise it raises `Conflict`.
        It does not if the label is there already: a request whose answer was lost can be repeated.
        Raises `NotFound`, also for the version, and `NotOwner`.
        """
        if name == LATEST:
            raise InvalidValue("label", "must not be latest, which is always the newest version")
        async with self._database.write() as connection:
            newest = await _require_change(connection, principal, id)
            labels = (await _labels(connection, [id])).get(id, {})
            before = labels.get(name)
            if before != version:
                _require_expected(before, expected)
            if version > newest:  # versions are numbered without gaps, and none is deleted alone
                raise NotFound("version of the prompt", id, "version")
            at = now()
            if name in labels:
                moved = prompt_labels.update().where(_label(id, name)).values(version=version, updated_at=at)
                await connection.execute(moved)
            elif len(labels) >= MAX_LABELS:
                raise Conflict(f"a prompt has at most {MAX_LABELS} labels; delete some")
            else:
                row = {"prompt_id": id, "name": name, "tenant": principal.tenant, "version": version, "updated_at": at}
                await connection.execute(prompt_labels.insert().values(row))
            await _touch(connection, id)
        return PromptLabel(name, id, version, before, at)

    @uninterrupted
    async def delete_label(self, principal: Principal, id: str, name: str, *, expected: int | None = None) -> int:
        """Deletes a label, and returns the version to which it pointed.

        Raises as `set_label`, and `NotFound` for a label that does not exist.
        """
        mine = _label(id, name)
        async with self._database.write() as connection:
            await _require_change(connection, principal, id)
            number: int | None = (await connection.execute(select(prompt_labels.c.version).where(mine))).scalar()
            if number is None:
                raise NotFound("label of the prompt", name)
            _require_expected(number, expected)
            await connection.execute(prompt_labels.delete().where(mine))
            await _touch(connection, id)
        return number


async def require_prompt(connection: AsyncConnection, principal: Principal, id: str, param: str) -> None:
    """Raises `NotFound` unless the tenant has the prompt, which then stays until the transaction ends."""
    query = select(prompts.c.id).where(prompts.c.id == id, prompts.c.tenant == principal.tenant)
    if (await connection.execute(query.with_for_update())).first() is None:
        raise NotFound("prompt", id, param)


def _label(prompt_id: str, name: str) -> ColumnElement[bool]:
    """Returns the condition for a label; a name that no label can have matches none."""
    return and_(prompt_labels.c.prompt_id == prompt_id, prompt_labels.c.name == literal(name, Name()))


def _require_expected(number: int | None, expected: int | None) -> None:
    if expected is None or expected == (number or 0):
        return
    now_at = f"points to version {number}" if number is not None else "does not exist"
    raise Conflict(f"the label {now_at}, not what was expected: read it again")


async def _get(connection: AsyncConnection, principal: Principal, id: str) -> StoredPrompt:
    query = select(prompts).where(prompts.c.id == id, prompts.c.tenant == principal.tenant)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise NotFound("prompt", id)
    return build(StoredPrompt, row, labels=(await _labels(connection, [id])).get(id, {}))


async def _labels(connection: AsyncConnection, ids: Sequence[str]) -> Mapping[str, dict[str, int]]:
    """Returns the labels of each prompt."""
    of = prompt_labels.c
    query = select(of.prompt_id, of.name, of.version).where(of.prompt_id.in_(ids)).order_by(of.name)
    found: dict[str, dict[str, int]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.prompt_id, {})[row.name] = row.version
    return found


async def _require_change(connection: AsyncConnection, principal: Principal, id: str) -> int:
    """Returns the number of a prompt's newest version, and keeps other writers from the prompt.

    Raises `NotFound`, and `NotOwner` if it belongs to another user.
    """
    query = select(prompts.c.user, prompts.c.version).where(prompts.c.id == id, prompts.c.tenant == principal.tenant)
    row = (await connection.execute(query.with_for_update())).first()
    if row is None:
        raise NotFound("prompt", id)
    require_owner(principal, row.user)
    return int(row.version)


async def _touch(connection: AsyncConnection, id: str, **changes: object) -> None:
    await connection.execute(prompts.update().where(prompts.c.id == id).values(updated_at=now(), **changes))


async def _add(
    connection: AsyncConnection,
    principal: Principal,
    prompt_id: str,
    version: int,
    text: str,
    variables: Sequence[str],
    *,
    trusted: bool,
) -> PromptVersion:
    row: dict[str, Any] = {
        "id": new_id("pmptv"),
        "tenant": principal.tenant,
        "user": principal.user,
        "prompt_id": prompt_id,
        "version": version,
        "text": values.text("text", text, min_length=1, max_length=MAX_TEXT),
        "variables": list(variables),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "by_operator": principal.role != "user",
        "trusted": trusted,
        "created_at": now(),
    }
    await lock(connection, "prompts", principal.tenant)
    await connection.execute(prompt_versions.insert().values(row))
    if await connection.run_sync(text_bytes, prompt_versions.c.text, principal.tenant) > MAX_BYTES:
        raise Conflict(f"the versions of a tenant's prompts have at most {MAX_BYTES} bytes; delete some prompts")
    return PromptVersion(**row)


async def _assistants_naming(connection: AsyncConnection, principal: Principal, id: str) -> str:
    """Returns the assistants whose active version names a prompt, for a message; empty if there are none.

    Only those are named that the principal may read; the others are counted.
    """
    of = assistant_versions.c
    active = and_(of.assistant_id == assistants.c.id, of.version == assistants.c.version)
    naming = and_(of.prompt_id == id, assistants.c.tenant == principal.tenant)
    query = select(assistants.c.name).join(assistant_versions, active).where(naming)
    count = select(func.count()).select_from(assistants).join(assistant_versions, active).where(naming)
    total = int((await connection.execute(count)).scalar_one())
    if not total:
        return ""
    shown = query.where(reachable(assistants, principal)).order_by(assistants.c.name).limit(_NAMED)
    names = [str(name) for name in (await connection.execute(shown)).scalars()]
    others = [f"{total - len(names)} that are not named here"] if total > len(names) else []
    return ", ".join([*names, *others])
