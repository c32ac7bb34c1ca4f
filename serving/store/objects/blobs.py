"""The contents of uploaded files, by tenant and id, in a folder or a bucket."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from serving.core.ids import now
from serving.core.principal import Principal
from serving.store.jobs.worker import Handler, JobContext
from serving.store.objects.contents import Blob, Contents, Readable
from serving.store.objects.places import TEMPORARY, Place


class Blobs:
    """File contents in a storage place, each tenant's in a folder of its own; see `Contents`.

    Tenants and ids are from verified principals and `new_id`.
    """

    def __init__(self, place: Place) -> None:
        self._contents = Contents(place, "file", folders="tenant")

    async def write(
        self,
        principal: Principal,
        id: str,
        source: AsyncIterator[bytes] | Readable,
        *,
        max_bytes: int,
        param: str = "file",
    ) -> Blob:
        """Writes `source` as `Contents.write` does."""
        return await self._contents.write(principal.tenant, id, source, max_bytes=max_bytes, param=param)

    async def read(self, principal: Principal, id: str) -> bytes:
        """Returns the whole content or raises `NotFound`."""
        return await self._contents.read(principal.tenant, id)

    async def open(self, principal: Principal, id: str) -> AsyncIterator[bytes]:
        """Returns the content in chunks, as `Contents.open` does."""
        return await self._contents.open(principal.tenant, id)

    async def delete(self, principal: Principal, id: str) -> None:
        """Removes the content; does nothing if it does not exist."""
        await self._contents.delete(principal.tenant, id)

    async def sweep(
        self, existing: Callable[[str, Sequence[str]], Awaitable[set[str]]], *, older_than_s: float = 86_400
    ) -> int:
        """Removes leftovers of crashes: temporary files, and contents without a row (`Files.existing`).

        Only files older than `older_than_s`, which must exceed the longest upload. Returns their number.
        """
        removed = 0
        for tenant, names in (await asyncio.to_thread(self._old, now() - older_than_s)).items():
            temporary = {name for name in names if name.startswith(TEMPORARY)}
            stored = sorted(set(names) - temporary)
            orphans = set(stored) - (await existing(tenant, stored) if stored else set())
            for name in temporary | orphans:
                await self._contents.discard(tenant, name)
                removed += 1
        return removed

    def _old(self, before: float) -> dict[str, list[str]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for tenant, id, written in self._contents.names():
            if written < before:
                found[tenant].append(id)
        return found


def blob_deletion(blobs: Blobs) -> Handler:
    """Returns the handler of `DELETE_BLOB` jobs."""

    async def delete(context: JobContext) -> None:
        await blobs.delete(context.principal, context.job.payload["file_id"])

    return delete
