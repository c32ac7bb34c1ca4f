"""Files in messages: a model is shown their text, as text that others wrote."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import mimetypes
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serving.assistants.items import Message as Shown
from serving.assistants.spotlight import MARKS, Spotlight
from serving.config import Limits
from serving.core.confine import Unconfined
from serving.core.principal import Principal
from serving.core.ttl_cache import TtlCache
from serving.guardrails.checker import REMOVED, GuardrailChecker
from serving.protocol.chat import ChatRequest, Message
from serving.protocol.errors import ApiError, forbidden, invalid, not_found, unavailable
from serving.protocol.parts import FilePart, TextPart
from serving.retrieval.builder import ChunkBounds
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.sandbox import ParserLimits, parse_isolated
from serving.store.errors import NotFound
from serving.store.files import Files
from serving.store.objects.blobs import Blobs

MAX_FILES = 16
"""Files of one request: each takes a process of its own to read."""

AT_ONCE = 2
"""Files that are read at once: the others wait, and so do their requests alone."""

CPU_S = 20
WALL_S = 40.0
"""Seconds that one file may take, of processor and of wall time: a caller waits for it."""

KEPT = 32
KEPT_S = 600.0
"""Texts that are remembered, and for how long: a conversation shows a file again with each turn."""

GONE = "[This file cannot be read any more.]"


class AttachedFiles:
    """Reads the files in messages."""

    def __init__(self, files: Files, blobs: Blobs, limits: Limits) -> None:
        self._files = files
        self._blobs = blobs
        self._most = limits.characters
        self._limits = ParserLimits(cpu_s=CPU_S, wall_s=WALL_S, bounds=ChunkBounds(characters=limits.characters))
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="attached")
        self._known: TtlCache[str] = TtlCache(KEPT_S, KEPT)

    async def read(
        self, caller: Principal, guard: GuardrailChecker | None, body: ChatRequest, field: str
    ) -> ChatRequest:
        """Returns a chat with the text of its files in their place; raises `ApiError` for one that cannot be read.

        `field` is the request's that holds the messages.
        """
        found = sum(isinstance(part, FilePart) for message in body.messages for part in _parts(message))
        if not found:
            return body
        if found > MAX_FILES:
            raise invalid(f"A request has at most {MAX_FILES} files.", field, "too_many_files")
        messages, size = [], 0
        for message in body.messages:
            content: list[Any] = []
            for part in _parts(message):
                if isinstance(part, FilePart):
                    text = await self._text(caller, guard, part.file.model_dump(exclude_none=True), field)
                    size += len(text)
                    part = TextPart(type="text", text=text)
                content.append(part)
            messages.append(message.model_copy(update={"content": content}) if content else message)
        if size > self._most:
            most = f"The files have {size:,} characters together, and a request {self._most:,} at most."
            raise invalid(most, field, "too_long")
        return body.model_copy(update={"messages": messages})

    async def shown_again(self, caller: Principal, guard: GuardrailChecker | None, message: Shown) -> Shown:
        """Returns a message of before with the text of its files in their place; one that is gone stands as such."""
        content = message.get("content")
        if not isinstance(content, list) or not any(part["type"] == "file" for part in content):
            return message
        parts = []
        for part in content:
            if part["type"] == "file":
                try:
                    text = await self._text(caller, guard, part["file"], "input")
                except ApiError as e:
                    if e.code not in ("not_found", "unsupported_file"):
                        raise
                    text = GONE
                part = {"type": "text", "text": text}
            parts.append(part)
        return {**message, "content": parts}

    async def _text(
        self, caller: Principal, guard: GuardrailChecker | None, file: Mapping[str, Any], field: str
    ) -> str:
        name, data = await self._content(caller, file, field)
        digest = hashlib.sha256(name.encode() + b"\0" + data).digest()
        text = self._known.get(digest)
        if text is None:
            text = await self._parsed(name, data, field)
            self._known.put(digest, text)
        if guard is not None:
            checked = await guard.check(text, "context", f"{field}.file")
            text = REMOVED if checked.blocked else checked.text
        # Whoever named the file chose its name: it is data too.
        marks = Spotlight("delimit", secrets.token_hex(4), secrets.choice(MARKS))
        return marks.on(f"{name}\n\n{text}")

    async def _content(self, caller: Principal, file: Mapping[str, Any], field: str) -> tuple[str, bytes]:
        if (id := file.get("file_id")) is not None:
            if "data:read" not in caller.scopes:
                raise forbidden("insufficient_scope", "Documents need a key with the scope data:read.", field)
            try:
                found = await self._files.get(caller, id)
                return found.filename, await self._blobs.read(caller, id)
            except NotFound:
                raise not_found("file", field) from None
        if not (given := file.get("file_data")):
            raise invalid("A file needs file_id or file_data.", field)
        kind, _, encoded = given.rpartition(",")
        try:
            data = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise invalid("file_data is not base64.", field) from None
        kind = kind.removeprefix("data:").removesuffix(";base64")
        ending = mimetypes.guess_extension(kind) or (".pdf" if data.startswith(b"%PDF-") else ".txt")
        return file.get("filename") or f"file{ending}", data

    async def _parsed(self, name: str, data: bytes, field: str) -> str:
        loop = asyncio.get_running_loop()
        try:
            document = await loop.run_in_executor(self._threads, parse_isolated, data, name, self._limits)
        except Unconfined as e:
            raise unavailable(f"Files cannot be read on this host: {e}.") from None
        except UnreadableDocument as e:
            raise invalid(f"A file cannot be read: {e.message}.", field, "unsupported_file") from None
        return document.text


def _parts(message: Message) -> list[Any]:
    return message.content if isinstance(message.content, list) else []
