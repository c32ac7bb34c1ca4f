"""Files in messages: reads and parses them, each once for a while."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import mimetypes
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serving.assistants.items import Message as Shown
from serving.assistants.spotlight import without_marks
from serving.config import Limits
from serving.core.confine import Unconfined
from serving.core.places import SharedPlaces
from serving.core.principal import Principal
from serving.core.ttl_cache import TtlCache
from serving.protocol.errors import forbidden, invalid, not_found, unavailable
from serving.retrieval.builder import ChunkBounds
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.sandbox import ParserLimits, parse_isolated
from serving.retrieval.types import AttachedDocument, Document
from serving.store.errors import NotFound
from serving.store.files import File, Files
from serving.store.objects.blobs import Blobs

MAX_FILES = 16
"""Maximum number of files of one request: each is parsed in its own process."""

AT_ONCE = 2
"""Number of files that are parsed at once: others wait, fairly between tenants, and only their requests with them."""

CPU_S = 20
WALL_S = 40.0
"""Limit of CPU time and of wall-clock time per file, in seconds: a caller waits for it."""

INDEXED = ParserLimits(cpu_s=CPU_S, wall_s=WALL_S)
"""Limits of a file that is shown to a person: its size is limited as in ingestion."""

KEPT = 32
KEPT_S = 600.0
"""Size and lifetime of the cache of documents: a conversation contains a file again with each turn."""

GONE = "[This file cannot be read any more.]"

NOT_AGAIN = "[This file is not shown again.]"
"""Replaces a file of an earlier turn that is not shown with the newest question."""

SLICE = 1 << 20
"""Number of characters that are hashed at once, so that a file in a request is not copied as a whole."""


class AttachedFiles:
    """Reads the files in messages."""

    def __init__(self, files: Files, blobs: Blobs, limits: Limits) -> None:
        self._files = files
        self._blobs = blobs
        self._limits = ParserLimits(cpu_s=CPU_S, wall_s=WALL_S, bounds=ChunkBounds(characters=limits.characters))
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="attached")
        self._reading = SharedPlaces(AT_ONCE, each=AT_ONCE)
        self._known: TtlCache[tuple[str, Document]] = TtlCache(KEPT_S, KEPT)
        self.characters = limits.characters
        """Maximum number of characters of all files of one request, and of those of earlier turns beside them."""

    async def read(self, caller: Principal, file: Mapping[str, Any], field: str) -> AttachedDocument:
        """Returns a file in a message, of the request's `field`; raises `ApiError` if it cannot be read.

        Only the caller's tenant can use what was read before.
        """
        if (id := file.get("file_id")) is not None:
            row = await self._row(caller, id, field)
            content, name = f"sha256:{row.sha256}:{row.filename}", row.filename
        elif file.get("file_data"):
            row, content, name = None, await self.digest(file), ""
        else:
            raise invalid("A file needs file_id or file_data.", field)
        key = hashlib.sha256(f"{caller.tenant}:{content}".encode(errors="surrogatepass"))
        known = self._known.get(key.digest())
        if known is None:
            # The content is read inside the limit, so that waiting requests hold none.
            async with self._reading.place(caller.tenant):
                if (known := self._known.get(key.digest())) is None:
                    if row is not None:
                        data = await self._stored(caller, row.id, field)
                    else:
                        name, data = await asyncio.to_thread(_inline_content, file, field)
                    known = name, await self._parsed(name, data, field, self._limits)
                    self._known.put(key.digest(), known)
        return AttachedDocument(key.hexdigest(), row.id if row is not None else "", *known)

    async def document(self, caller: Principal, file: File) -> str:
        """Returns the text of a stored file that the caller may read; raises `ApiError`."""
        async with self._reading.place(caller.tenant):
            data = await self._stored(caller, file.id, "file_id")
            return (await self._parsed(file.filename, data, "file_id", self._limits)).text

    async def indexed(self, caller: Principal, file: File) -> Document:
        """Like `document`, with its blocks, and as large as what is indexed may be."""
        async with self._reading.place(caller.tenant):
            data = await self._stored(caller, file.id, "file_id")
            return await self._parsed(file.filename, data, "file_id", INDEXED)

    async def digest(self, file: Mapping[str, Any]) -> str:
        """Returns a key that identifies the content of a file in a message, without reading it."""
        if (id := file.get("file_id")) is not None:
            return f"id:{id}"
        return f"data:{await asyncio.to_thread(_digest, file.get('file_data') or '')}:{file.get('filename')}"

    async def _row(self, caller: Principal, id: str, field: str) -> File:
        if "data:read" not in caller.scopes:
            raise forbidden("insufficient_scope", "Reading documents requires a key with the scope data:read.", field)
        try:
            return await self._files.get(caller, id)
        except NotFound:
            raise not_found("file", field) from None

    async def _stored(self, caller: Principal, id: str, field: str) -> bytes:
        try:
            return await self._blobs.read(caller, id)
        except NotFound:
            raise not_found("file", field) from None

    async def _parsed(self, name: str, data: bytes, field: str, limits: ParserLimits) -> Document:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, parse_isolated, data, name, limits)
        except Unconfined as e:
            raise unavailable(f"Files cannot be read on this host: {e}.") from None
        except UnreadableDocument as e:
            raise invalid(f"A file cannot be read: {e.message}.", field, "unsupported_file") from None


class FilesShownAgain:
    """Earlier messages as the model reads them. What is shown of their files stands with the newest question.

    Others may have written in a conversation that several keys share or that was forked, and answers repeat documents:
    so nothing in a message reads as the explanation of marks, but that of its files.
    """

    def __init__(self, attached: AttachedFiles) -> None:
        self._attached = attached
        self._texts: Mapping[str, str] = {}

    def show(self, texts: Mapping[str, str]) -> None:
        """Sets what replaces files, by their digest."""
        self._texts = texts

    async def message(self, message: Shown) -> Shown:
        """Returns an earlier message in which files are replaced by text. One that was returned before stays as it
        is.
        """
        content = message.get("content")
        if isinstance(content, str):
            return {**message, "content": without_marks(content)}
        return {**message, "content": [await self._part(part) for part in content]} if content else message

    async def _part(self, part: Mapping[str, Any]) -> Mapping[str, Any]:
        if part["type"] == "file":
            text = self._texts.get(await self._attached.digest(part["file"]), NOT_AGAIN)
            return {"type": "text", "text": text}
        if part["type"] == "text" and part["text"] not in self._texts.values():
            return {**part, "text": without_marks(part["text"])}
        return part


def _digest(text: str) -> str:
    found = hashlib.sha256()
    for start in range(0, len(text), SLICE):
        found.update(text[start : start + SLICE].encode(errors="surrogatepass"))
    return found.hexdigest()


def _inline_content(file: Mapping[str, Any], field: str) -> tuple[str, bytes]:
    """Returns the name and the content of a file that is in the request itself."""
    kind, _, encoded = file["file_data"].rpartition(",")
    try:
        data = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise invalid("file_data is not base64.", field) from None
    kind = kind.removeprefix("data:").removesuffix(";base64")
    ending = mimetypes.guess_extension(kind) or (".pdf" if data.startswith(b"%PDF-") else ".txt")
    return file.get("filename") or f"file{ending}", data
