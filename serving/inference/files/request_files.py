"""The files of a request and of the turns before it: what of them a model is shown, and what its answer cites.

Small files are shown whole, and of larger ones the passages that suit the question; both stand before the question,
marked as text from others. An assistant that quotes answers from their passages, if these answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from serving.assistants import spotlight
from serving.assistants.memory import window
from serving.assistants.reader import BARE
from serving.assistants.spotlight import Spotlights
from serving.config import Assistant
from serving.engines.router import Route
from serving.engines.token_counter import OVERHEAD
from serving.guardrails.checker import REMOVED
from serving.inference.documents.answers import question_of
from serving.inference.documents.search import asked_before, within_tokens
from serving.inference.exchange import Exchange
from serving.inference.files.attached_files import GONE, MAX_FILES, AttachedFiles
from serving.inference.request_forms import ParsedRequest
from serving.protocol.chat import ChatRequest, Message
from serving.protocol.errors import ApiError, invalid
from serving.protocol.parts import FilePart, TextPart
from serving.retrieval.client import RetrievalClient
from serving.retrieval.types import AttachedDocument, Block, Hit

UNKNOWN_CONTEXT = 32_768
"""Assumed number of tokens of a request with its answer, if the model's context is unknown."""

LEAST = 128
"""Least number of tokens for files, however long the question is."""

PASSAGES = 50
"""Most passages of large files."""

BELOW = "[This file is shown with the newest question.]"
"""Replaces a file of an earlier turn, whose text stands where a model reads it best."""

PARTLY = "[Passages of a longer file that suit the question.]"
NOTHING = "[No passage of this file is shown: others suit the question better.]"

_TOKEN = re.compile(r"[A-Za-z]{1,4}|[^\sA-Za-z]")
"""What is one token at most for the tokenizers of language models: four letters, or a digit or mark."""


@dataclass(frozen=True, slots=True)
class RequestFiles:
    """The files as they were read. `chat` is the request with text in their place, `earlier` what replaces files of
    earlier turns, and `hits` are what an answer is compared with, or the passages that are quoted as an answer.
    """

    chat: ChatRequest
    ids: frozenset[str] = frozenset()
    earlier: Mapping[str, str] = field(default_factory=dict)
    hits: Sequence[Hit] = ()


@dataclass(slots=True)
class _ReadFiles:
    """Files by their digests: those of the request, and those of earlier turns, None if they cannot be read any
    more.
    """

    own: dict[str, AttachedDocument] = field(default_factory=dict)
    earlier: dict[str, AttachedDocument | None] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, AttachedDocument]:
        return self.own | {digest: file for digest, file in self.earlier.items() if file is not None}


class FileReader:
    """Reads the files of requests."""

    def __init__(self, attached: AttachedFiles, retrieval: RetrievalClient, spotlights: Spotlights) -> None:
        self._attached = attached
        self._retrieval = retrieval
        self._spotlights = spotlights

    async def read(
        self, x: Exchange, route: Route, asked: ParsedRequest, reads: Assistant | None, *, quotes: bool
    ) -> RequestFiles | None:
        """Returns the files of a request; None if it has none. Raises `ApiError` for one that cannot be read.

        `reads` is the assistant that reads documents for it, which `quotes` them or not.
        """
        chat = asked.chat
        found = await self._read_files(x, asked)
        if not found.own and not found.earlier:
            return None
        files = found.all
        ids = frozenset(file.file_id for file in files.values())
        question = question_of(chat)
        if quotes and reads is not None and question and files:
            within = spotlight.budgeted(within_tokens(reads, chat))
            before = await asked_before(chat, asked.context)
            hits = await self._retrieval.attached(x.caller, within, question, list(files.values()), before)
            return RequestFiles(chat, ids, hits=await self._checked(x, hits))
        budget = _budget(route, chat, reads)
        if _tokens("".join(file.document.text for file in files.values()), budget) <= budget:
            texts = {digest: f"{file.file_name}\n\n{file.document.text}" for digest, file in files.items()}
            hits = [hit for file in files.values() for hit in _sections(file)]
            if x.guard is not None and x.guard.reads:
                hits = await x.guard.apart().hits(hits)
        else:
            before = await asked_before(chat, asked.context)
            hits = await self._passages(x, question, before, list(files.values()), budget)
            texts = {digest: _excerpts(file, hits) for digest, file in files.items()}
        shown = {digest: await self._marked(x, text, asked.param) for digest, text in texts.items()}
        return _placed(chat, found, shown, ids, hits, [await self._digests(m) for m in chat.messages])

    async def _read_files(self, x: Exchange, asked: ParsedRequest) -> _ReadFiles:
        parts = [part for message in asked.chat.messages for part in _files(message)]
        if len(parts) > MAX_FILES:
            message = f"A request has at most {MAX_FILES} files, and this one has {len(parts)}: ask about fewer at once"
            raise invalid(f"{message}, or add them to a vector store.", asked.param, "too_many_files")
        found, size = _ReadFiles(), 0
        for part in parts:
            file = part.file.model_dump(exclude_none=True)
            digest = await self._attached.digest(file)
            if digest not in found.own:
                found.own[digest] = await self._attached.read(x.caller, file, asked.param)
            size += len(found.own[digest].document.text)
        if size > self._attached.characters:
            most = f"The files have {size:,} characters together, and a request {self._attached.characters:,} at most"
            raise invalid(f"{most}: ask about fewer at once, or add them to a vector store.", asked.param, "too_long")
        for earlier in await asked.context.attached() if asked.context is not None else ():
            digest = await self._attached.digest(earlier)
            if digest in found.own or digest in found.earlier or len(found.all) >= MAX_FILES:
                continue
            try:
                read = await self._attached.read(x.caller, earlier, asked.param)
            except ApiError as e:
                if e.code not in ("not_found", "unsupported_file"):
                    raise
                found.earlier[digest] = None
                continue
            size += len(read.document.text)
            if size > self._attached.characters:
                break  # older ones are not shown
            found.earlier[digest] = read
        return found

    async def _digests(self, message: Message) -> list[str]:
        return [await self._attached.digest(part.file.model_dump(exclude_none=True)) for part in _files(message)]

    async def _passages(
        self, x: Exchange, question: str, before: str, files: Sequence[AttachedDocument], budget: int
    ) -> list[Hit]:
        # The tokens of an embedder are longer than those of small models.
        within = BARE.model_copy(update={"context_tokens": budget * 2 // 3, "top_k": PASSAGES, "unsupported": "mark"})
        asked = question or " ".join(file.file_name for file in files)
        return await self._checked(x, await self._retrieval.attached(x.caller, within, asked, files, before))

    async def _checked(self, x: Exchange, hits: Sequence[Hit]) -> list[Hit]:
        return list(hits) if x.guard is None else await x.guard.hits(hits)

    async def _marked(self, x: Exchange, text: str, param: str) -> str:
        """Returns text of a file as the model reads it. Its name may be from others too, so it is marked as well."""
        if x.guard is not None:
            checked = await x.guard.check(text, "context", f"{param}.file")
            text = REMOVED if checked.blocked else checked.text
        return self._spotlights.for_files(x.caller.tenant).on(text)


def _placed(
    chat: ChatRequest,
    found: _ReadFiles,
    shown: Mapping[str, str],
    ids: frozenset[str],
    hits: Sequence[Hit],
    digests: Sequence[Sequence[str]],
) -> RequestFiles:
    """Returns the request with text in the place of its files, and that of earlier ones before the newest question.

    A request without a question goes on with a turn, where its files stay.
    """
    asked = next((at for at in reversed(range(len(chat.messages))) if chat.messages[at].role == "user"), None)
    before = [shown[digest] for digest, file in found.earlier.items() if file is not None]
    messages = []
    for at, message in enumerate(chat.messages):
        parts = message.content if isinstance(message.content, list) else None
        if parts is not None:
            texts = iter(digests[at])
            parts = [_text(shown[next(texts)]) if isinstance(part, FilePart) else part for part in parts]
        if at == asked and before:
            own = parts if parts is not None else [_text(message.text())] if message.content else []
            parts = [*map(_text, before), *own]
        messages.append(message if parts is None else message.model_copy(update={"content": parts}))
    told = {
        digest: GONE if file is None else BELOW if asked is not None else shown[digest]
        for digest, file in found.earlier.items()
    } | dict.fromkeys(found.own, BELOW)
    return RequestFiles(chat.model_copy(update={"messages": messages}), ids, told, hits)


def _budget(route: Route, chat: ChatRequest, reads: Assistant | None) -> int:
    """Returns how many tokens of files fit into the model's context beside the question, the answer and documents."""
    context = route.context or UNKNOWN_CONTEXT
    asked = chat.max_completion_tokens or chat.max_tokens or (route.assistant.max_tokens if route.assistant else None)
    room = (window.room(context, asked) or 0) - OVERHEAD - (reads.context_tokens if reads is not None else 0)
    said = sum(_tokens(message.text(), context) for message in chat.messages)
    return max(min(room - said, context * 3 // 4), LEAST)


def _tokens(text: str, enough: int) -> int:
    """Returns how many tokens a text has at most, for common tokenizers; only its length if it has far more."""
    return len(text) if len(text) > 8 * enough else sum(1 for _ in _TOKEN.finditer(text))


def _sections(file: AttachedDocument) -> list[Hit]:
    """Returns a file as passages, each with its own heading and page."""

    def place(block: Block) -> tuple[tuple[str, ...], int | None]:
        return block.heading, block.page

    found: list[Hit] = []
    for (heading, page), blocks in groupby(file.document.blocks, place):
        of_section = list(blocks)
        start, end = of_section[0].start, of_section[-1].start + len(of_section[-1].text)
        text = file.document.text[start:end]
        where = (file.file_name, " > ".join(heading), text, start, end, page)
        found.append(Hit(f"{file.id}:{len(found)}", file.file_id, file.file_name, *where, 1.0, 1.0, 0.0))
    return found


def _excerpts(file: AttachedDocument, hits: Sequence[Hit]) -> str:
    """Returns the passages of a file in its order."""
    mine = sorted((hit for hit in hits if hit.chunk_id.rpartition(":")[0] == file.id), key=lambda hit: hit.start)
    return "\n\n".join([file.file_name, *([PARTLY, *(hit.text for hit in mine)] if mine else [NOTHING])])


def _files(message: Message) -> list[FilePart]:
    content = message.content if isinstance(message.content, list) else []
    return [part for part in content if isinstance(part, FilePart)]


def _text(text: str) -> Any:
    return TextPart(type="text", text=text)
