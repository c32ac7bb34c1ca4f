"""Assistants that tenants create through the API, and the routes for their names.

Versions are immutable. One of them is active; each request reads which one from the store, so that a change takes
effect immediately on every replica.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import ValidationError
from sqlalchemy import and_, func, or_, select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.config import Assistant
from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.engines.router import ModelRouter, Route
from serving.protocol.assistants import MAX_INSTRUCTIONS, AssistantSettings
from serving.protocol.errors import ApiError, invalid
from serving.protocol.prompts.requests import PromptReference
from serving.protocol.prompts.template import parse
from serving.store.access import Access, listed, reachable, readable, require_owner, require_owner_to_open
from serving.store.errors import Conflict, InvalidValue, NotFound
from serving.store.prompts.prompts import Prompts, require_prompt
from serving.store.prompts.records import PromptVersion
from serving.store.relational.counted_bytes import text_bytes
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.rows import Order, Page, build, build_page, page
from serving.store.relational.tables import assistant_versions, assistants

MAX_PAGE = 100

MAX_VERSIONS = 200
"""Maximum number of versions of one assistant."""

MAX_BYTES = 20_000_000
"""Maximum number of bytes of the settings of all versions of a tenant's assistants."""

_PREFIX = "asst"
"""How ids begin: requests name an assistant by its name or its id."""

_SETTINGS = frozenset(AssistantSettings.model_fields)


@dataclass(frozen=True, slots=True)
class OwnAssistant:
    """A tenant's assistant, with the settings of its active version."""

    id: str
    tenant: str
    user: str
    name: str
    version: int
    access: list[str] | None
    created_at: float
    settings: dict[str, Any]

    def route(self, router: ModelRouter, requested: str, caller: Principal) -> Route | None:
        """Returns the route for a caller, or None if the caller may not call its model."""
        settings = settings_of(self.settings)
        route = router.resolve(settings.model, caller)
        if route is None or route.assistant is not None or route.task != "chat":
            return None
        # The id, since a tenant's name may also be a name of the stack.
        assistant = Assistant(
            name=self.id,
            model=route.alias,
            description=settings.description,
            prompt=settings.instructions,
            top_k=settings.max_num_results,
            context_tokens=settings.context_tokens,
            memory=settings.memory,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            refusal=settings.refusal,
            spotlight=settings.spotlight,
        ).model_copy(update={"unsupported": settings.unsupported})  # its documents are not the configuration's
        own: dict[str, Any] = {"requested": requested, "assistant": assistant, "own": True}
        own["stores"] = tuple(settings.vector_store_ids)
        others = tuple(replace(other, **own) for other in route.alternatives)
        return replace(route, **own, alternatives=others)


@dataclass(frozen=True, slots=True)
class AssistantVersion:
    """A version of an assistant."""

    id: str
    assistant_id: str
    version: int
    settings: dict[str, Any]
    created_at: float


class AssistantRegister:
    """The assistants of all tenants, and the `prompts` that they may name. `most` is the maximum number of assistants
    per tenant.
    """

    def __init__(self, database: Database, most: int) -> None:
        self._database = database
        self._most = most
        self.prompts = Prompts(database)

    async def route(self, router: ModelRouter, name: str, caller: Principal) -> Route | None:
        """Returns the route for a name or an id of a tenant's assistant, or None if the caller cannot use it."""
        found = await self.callable_by(caller, name)
        route = found.route(router, name, caller) if found is not None else None
        if found is None or route is None or found.settings.get("prompt") is None:
            return route
        if (named := settings_of(found.settings).prompt) is None:  # another release stored it
            raise invalid("This assistant cannot answer: this release does not understand its prompt.", "model")
        return _instructed(route, *await self._instructions(caller, named))

    async def _instructions(self, caller: Principal, named: PromptReference) -> tuple[PromptVersion, str]:
        """Returns the version and the text of an assistant's prompt.

        Raises `ApiError` if the prompt or its version is gone, or if the version has other variables.
        """
        try:
            version = await self.prompts.version(caller, named.id, named.version)
            return version, instructions(version, named)
        except NotFound as e:
            raise invalid(
                f"This assistant cannot answer: the {e.kind} that it names does not exist.", "model"
            ) from None
        except ApiError as e:
            why = "its values do not match the variables of its prompt, or make the prompt too long"
            raise invalid(f"This assistant cannot answer: {why}.", "model", e.code) from None

    @uninterrupted
    async def callable_by(self, principal: Principal, name: str) -> OwnAssistant | None:
        """Returns the assistant with that name or id, or None if the principal may not call it."""
        named = and_(or_(assistants.c.name == name, assistants.c.id == name), readable(assistants, principal))
        query = _with_settings().where(named).order_by(assistants.c.id != name).limit(1)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        return build(OwnAssistant, row) if row is not None else None

    @uninterrupted
    async def open_to(self, router: ModelRouter, ids: Collection[str], caller: Principal) -> set[str]:
        """Returns those of `ids`, and of no names, whose assistants the caller can use: their models too."""
        if not ids:
            return set()
        query = _with_settings().where(assistants.c.id.in_(sorted(ids)), readable(assistants, caller))
        async with self._database.read() as connection:
            found = [build(OwnAssistant, row) for row in (await connection.execute(query)).mappings()]
        return {each.id for each in found if each.route(router, each.id, caller) is not None}

    @uninterrupted
    async def create(
        self, principal: Principal, name: str, settings: AssistantSettings, access: Access | None
    ) -> OwnAssistant:
        """Creates an assistant with its first version. Raises `Conflict` if the tenant has one of this name, and
        `InvalidValue` for a name that looks like an id.
        """
        if name.startswith(f"{_PREFIX}_"):
            raise InvalidValue("name", f"must not begin with {_PREFIX}_, like the ids of assistants")
        id = new_id(_PREFIX)
        row = {
            "id": id,
            "tenant": principal.tenant,
            "user": principal.user,
            "name": name,
            "version": 1,
            "access": listed(access, principal.user),
            "created_at": now(),
        }
        mine = assistants.c.tenant == principal.tenant
        async with self._database.write() as connection:
            await lock(connection, "assistants", principal.tenant)
            if (await connection.execute(select(assistants.c.id).where(mine, assistants.c.name == name))).first():
                raise Conflict("the tenant already has an assistant of this name")
            if (await connection.execute(select(func.count()).where(mine))).scalar_one() >= self._most:
                raise InvalidValue("name", f"the tenant already has {self._most} assistants; delete some")
            await connection.execute(assistants.insert().values(row))
            await _add(connection, principal, id, 1, settings)
            return await _get(connection, principal, id)

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> OwnAssistant:
        """Returns an assistant that the principal may call; raises `NotFound`."""
        async with self._database.read() as connection:
            return await _get(connection, principal, id)

    @uninterrupted
    async def list(
        self, principal: Principal, *, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[OwnAssistant]:
        """Returns the assistants that the principal may call."""
        async with self._database.read() as connection:
            found = await page(
                connection,
                _with_settings(),
                assistants,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order=order,
                within=readable(assistants, principal),
            )
        return build_page(OwnAssistant, found)

    @uninterrupted
    async def add_version(
        self, principal: Principal, id: str, settings: AssistantSettings, *, activate: bool
    ) -> AssistantVersion:
        """Adds the next version, which becomes active with `activate`. Raises `NotFound` and `NotOwner`."""
        async with self._database.write() as connection:
            await lock(connection, "assistants", principal.tenant)
            await _require_change(connection, principal, id)
            of = assistant_versions.c
            newest = select(func.max(of.version)).where(of.assistant_id == id)
            number = int((await connection.execute(newest)).scalar_one()) + 1
            if number > MAX_VERSIONS:
                raise Conflict(f"an assistant has at most {MAX_VERSIONS} versions; create another assistant")
            if activate:
                await connection.execute(assistants.update().where(assistants.c.id == id).values(version=number))
            added = await _add(connection, principal, id, number, settings)
            query = select(assistant_versions).where(of.id == added)
            return build(AssistantVersion, (await connection.execute(query)).mappings().one())

    @uninterrupted
    async def list_versions(
        self, principal: Principal, id: str, *, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[AssistantVersion]:
        """Returns an assistant's versions; raises `NotFound`."""
        async with self._database.read() as connection:
            await _get(connection, principal, id)
            found = await page(
                connection,
                select(assistant_versions),
                assistant_versions,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order=order,
                order_column="version",
                within=assistant_versions.c.assistant_id == id,
            )
        return build_page(AssistantVersion, found)

    @uninterrupted
    async def update(
        self,
        principal: Principal,
        id: str,
        *,
        version: int | None = None,
        access: Access | Literal["unchanged"] | None = "unchanged",
    ) -> OwnAssistant:
        """Activates another version, or changes the access list. Raises `NotFound`, also for the version, and
        `NotOwner`, also for an admin who lets in more people than the owner did.
        """
        async with self._database.write() as connection:
            owner, before = await _require_change(connection, principal, id)
            changes: dict[str, Any] = {}
            if version is not None:
                of = assistant_versions.c
                there = select(of.prompt_id).where(of.assistant_id == id, of.version == version)
                row = (await connection.execute(there)).first()
                if row is None:
                    raise NotFound("version", str(version), "version")
                if row.prompt_id is not None:
                    await require_prompt(connection, principal, row.prompt_id, "version")
                changes["version"] = version
            if access != "unchanged":
                changes["access"] = listed(access, owner)
                require_owner_to_open(principal, owner, before, changes["access"])
            if changes:
                await connection.execute(assistants.update().where(assistants.c.id == id).values(changes))
            return await _get(connection, principal, id, reading=False)

    @uninterrupted
    async def delete(self, principal: Principal, id: str) -> None:
        """Deletes an assistant with its versions. Raises `NotFound` and `NotOwner`."""
        async with self._database.write() as connection:
            await _require_change(connection, principal, id)
            await connection.execute(assistants.delete().where(assistants.c.id == id))


def settings_of(stored: Mapping[str, Any]) -> AssistantSettings:
    """Returns stored settings; settings unknown to this release are ignored, and missing ones have their defaults."""
    known = {name: value for name, value in stored.items() if name in _SETTINGS}
    try:
        return AssistantSettings.model_validate(known)
    except ValidationError as e:
        broken = {str(error["loc"][0]) for error in e.errors() if error["loc"]}
        return AssistantSettings.model_validate({name: v for name, v in known.items() if name not in broken})


def instructions(version: PromptVersion, named: PromptReference) -> str:
    """Returns the instructions that an assistant has by a version of a prompt; raises `ApiError`."""
    text = parse(version.text).render(named.variables or {}, "prompt.variables")
    if len(text) > MAX_INSTRUCTIONS:
        raise invalid(f"An assistant's instructions have at most {MAX_INSTRUCTIONS} characters.", "prompt", "too_long")
    return text


def _instructed(route: Route, version: PromptVersion, text: str) -> Route:
    """Returns the route of an assistant with the text of a stored prompt as its instructions."""
    if route.assistant is None:
        raise AssertionError("only an assistant names a prompt")
    own: dict[str, Any] = {"assistant": route.assistant.model_copy(update={"prompt": text}), "prompt": version}
    others = tuple(replace(other, **own) for other in route.alternatives)
    return replace(route, **own, alternatives=others)


def _with_settings() -> Any:
    of = assistant_versions.c
    active = and_(of.assistant_id == assistants.c.id, of.version == assistants.c.version)
    return select(assistants, of.settings).join(assistant_versions, active)


async def _get(connection: AsyncConnection, principal: Principal, id: str, *, reading: bool = True) -> OwnAssistant:
    mine = readable(assistants, principal) if reading else reachable(assistants, principal)
    query = _with_settings().where(assistants.c.id == id, mine)
    row: RowMapping | None = (await connection.execute(query)).mappings().first()
    if row is None:
        raise NotFound("assistant", id)
    return build(OwnAssistant, row)


async def _require_change(connection: AsyncConnection, principal: Principal, id: str) -> tuple[str, list[str] | None]:
    """Returns an assistant's owner and access list; raises `NotFound`, and `NotOwner` if it belongs to another user."""
    query = select(assistants.c.user, assistants.c.access)
    query = query.where(assistants.c.id == id, reachable(assistants, principal))
    found = (await connection.execute(query.with_for_update())).first()
    if found is None:
        raise NotFound("assistant", id)
    require_owner(principal, found.user)
    return found.user, found.access


async def _add(
    connection: AsyncConnection, principal: Principal, assistant_id: str, version: int, settings: AssistantSettings
) -> str:
    prompt_id = settings.prompt.id if settings.prompt is not None else None
    if prompt_id is not None:
        await require_prompt(connection, principal, prompt_id, "prompt.id")
    row = {
        "id": new_id("asstv"),
        "tenant": principal.tenant,
        "assistant_id": assistant_id,
        "version": version,
        "settings": settings.model_dump(mode="json", include=set(_SETTINGS)),
        "prompt_id": prompt_id,
        "created_at": now(),
    }
    await connection.execute(assistant_versions.insert().values(row))
    if await connection.run_sync(text_bytes, assistant_versions.c.settings, principal.tenant) > MAX_BYTES:
        raise Conflict(f"the versions of a tenant's assistants have at most {MAX_BYTES} bytes; delete some assistants")
    return str(row["id"])
