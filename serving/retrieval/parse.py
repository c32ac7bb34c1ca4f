"""Converts bytes and a file name to a `Document`.

The kind is determined from the content and compared with the extension, so that a renamed file is rejected rather than
misread. Untrusted bytes are parsed only through `serving.retrieval.sandbox`.
"""

from __future__ import annotations

import importlib.util
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from serving.retrieval.builder import ChunkBounds
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parsers import FORMATS, kinds
from serving.retrieval.types import Document

PARSER_VERSION = "1"
"""Part of a collection's manifest: increase it when chunks of an older parser must not be mixed with new ones.

An improved parser does not require a new index: chunks store their text, and are replaced when the file is attached
again.
"""

READABLE = (
    "send text, Markdown, HTML, a PDF, CSV, JSON, an e-mail, source code, or an Office document as .docx, .xlsx or "
    ".pptx"
)
"""What to do about a file of another type; the documentation lists all extensions."""

_PAGE = re.compile(r"<(?:!doctype\s{1,100}html|html|head|body)[\s>]", re.IGNORECASE)
_SPACE = re.compile(r"\s*+")
_TAG = re.compile(r"<[a-zA-Z][^<>]*>")
_ENTRY = b"PK\x01\x02"
_MAX_ENTRIES = 10_000


def parse(data: bytes, name: str, bounds: ChunkBounds | None = None) -> Document:
    """Parses a document. Raises `UnreadableDocument`; may use much time for hostile input.

    `bounds` are those of any file: its size limits its text further.
    """
    bounds = (bounds or ChunkBounds()).of_file(len(data))
    kind = detect(data, name, bounds)
    try:
        return _parser(kind)(data if FORMATS[kind].binary else _decode(data), name, bounds)
    except (UnreadableDocument, MemoryError, RecursionError, ImportError):
        raise
    except Exception as e:  # parser libraries raise arbitrary errors for damaged files
        raise UnreadableDocument("damaged", "the file is damaged") from e


def _parser(kind: str) -> Callable[[Any, str, ChunkBounds], Document]:
    module, _, function = FORMATS[kind].parser.partition(":")
    found: Callable[[Any, str, ChunkBounds], Document] = getattr(importlib.import_module(module), function)
    return found


def detect(data: bytes, name: str, bounds: ChunkBounds) -> str:
    """Returns the kind of a file from its content; rejects it when the extension does not match."""
    if not data.strip():
        raise UnreadableDocument("empty", "the file is empty")
    extension = PurePosixPath(name).suffix.lower()
    known = kinds()
    declared = known.get(extension)
    if declared is None:
        type = f"files of the type {extension[:16]}" if extension else "files without an extension"
        raise UnreadableDocument("unsupported", f"{type} cannot be read; {READABLE}")
    found = _content_kind(data, declared, bounds)
    if found != declared:
        raise UnreadableDocument("wrong_type", f"the extension is {extension}, but the content is {found}")
    format = FORMATS[declared]
    if format.requires and importlib.util.find_spec(format.requires) is None:
        raise UnreadableDocument("unsupported", format.requirement)
    return declared


def _content_kind(data: bytes, declared: str, bounds: ChunkBounds) -> str:
    beginning = data[:1024].lstrip()
    for kind, format in FORMATS.items():
        # Short magic bytes count only for files with the format's extension: a text may begin with them.
        if beginning.startswith(tuple(mark for mark in format.magic if len(mark) > 4 or kind == declared)):
            return kind
    if data.startswith(b"PK\x03\x04"):
        return _zip_kind(data, bounds)
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        for kind, format in FORMATS.items():
            if format.container == "ole" and format.part.encode("utf-16-le") in data:
                return kind
        # Office wraps a password-protected document in an OLE container.
        if FORMATS[declared].part and FORMATS[declared].container == "zip":
            raise UnreadableDocument(
                "encrypted",
                "the file is protected by a password, or in an old Office format; save it without a password, as "
                f"{declared}",
            )
        return "an Office file of the old format"
    if FORMATS[declared].decodes:
        return declared
    if FORMATS[declared].binary:
        return "something else"
    text = _decode(data)
    if _begins_page(text[:4096]):
        # Markdown may begin with HTML; only plain text files must not contain a page.
        return declared if FORMATS[declared].may_begin_as_page else "html"
    if declared == "html" and not _TAG.search(text):
        return "text"
    return declared


def _begins_page(text: str) -> bool:
    """Returns whether a text begins with a page's first tag, ignoring white space and comments."""
    at = 0
    while True:
        if (space := _SPACE.match(text, at)) is not None:
            at = space.end()
        if not text.startswith("<!--", at):
            return _PAGE.match(text, at) is not None
        end = text.find("-->", at + 4)
        if end < 0:
            return False
        at = end + 3


def _zip_kind(data: bytes, bounds: ChunkBounds) -> str:
    """Reads an archive's directory, without unpacking, and limits the unpacked size.

    The number of entries in the end record can be wrong, so entry headers are counted before any are listed.
    """
    if data.count(_ENTRY) > _MAX_ENTRIES:
        raise UnreadableDocument("too_large", f"the archive has more than {_MAX_ENTRIES:,} entries")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        raise UnreadableDocument("damaged", "the file is a damaged or truncated archive") from None
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > bounds.unpacked_bytes or unpacked > bounds.ratio * max(len(data), 10_000):
        raise UnreadableDocument("too_large", "the archive is too large when unpacked")
    if any(entry.flag_bits & 1 for entry in entries):
        raise UnreadableDocument("encrypted", "the archive is encrypted")
    names = {entry.filename for entry in entries}
    found = (kind for kind, format in FORMATS.items() if format.part in names and format.container == "zip")
    return next(found, "a zip archive")


def _decode(data: bytes) -> str:
    """Decodes text: UTF-8, or UTF-16 with a byte order mark."""
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableDocument("not_text", "the file is not valid UTF-8 text") from None
    if "\x00" in text:
        raise UnreadableDocument("not_text", "the file contains NUL characters, so it is not text")
    return text
