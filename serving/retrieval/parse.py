"""Bytes and a file name to a `Document`.

The kind is decided by content and checked against the extension, so that a renamed file is refused rather
than read as something else. Run it on foreign bytes through `serving.retrieval.sandbox` only.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import PurePosixPath
from typing import Literal

from serving.retrieval.builder import ChunkBounds
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.types import Document

Kind = Literal["markdown", "text", "html", "pdf", "docx"]

PARSER_VERSION = "1"
"""Part of a collection's manifest: raise it when the same bytes give another text."""

EXTENSIONS: dict[str, Kind] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".text": "text",
    ".rst": "text",
    ".log": "text",
    ".csv": "text",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".docx": "docx",
}

_PAGE = re.compile(r"<(?:!doctype\s{1,100}html|html|head|body)[\s>]", re.IGNORECASE)
_SPACE = re.compile(r"\s*+")
_TAG = re.compile(r"<[a-zA-Z][^<>]*>")
_DOCX_PART = "word/document.xml"
_ENTRY = b"PK\x01\x02"
_MAX_ENTRIES = 10_000


def parse(data: bytes, name: str, bounds: ChunkBounds | None = None) -> Document:
    """Reads a document. Raises `UnreadableDocument`; may use much time and memory on hostile input."""
    bounds = bounds or ChunkBounds()
    kind = detect(data, name, bounds)
    stem = PurePosixPath(name.replace("\\", "/")).stem
    if kind == "pdf":
        from serving.retrieval.parsers.pdf import parse_pdf

        return parse_pdf(data, stem, bounds)
    if kind == "docx":
        from serving.retrieval.parsers.docx import parse_docx

        return parse_docx(data, stem, bounds)
    text = _decode(data)
    if kind == "html":
        from serving.retrieval.parsers.html import parse_html

        return parse_html(text, stem, bounds)
    if kind == "markdown":
        from serving.retrieval.parsers.markdown import parse_markdown

        return parse_markdown(text, stem, bounds)
    from serving.retrieval.parsers.plain import parse_plain

    return parse_plain(text, stem, bounds)


def detect(data: bytes, name: str, bounds: ChunkBounds) -> Kind:
    """Returns the kind of a file from its content, and refuses it when the extension says otherwise."""
    if not data.strip():
        raise UnreadableDocument("empty", "the file is empty")
    extension = PurePosixPath(name).suffix.lower()
    declared = EXTENSIONS.get(extension)
    if declared is None:
        raise UnreadableDocument("unsupported", f"file type not supported; use one of {', '.join(EXTENSIONS)}")
    found = _content_kind(data, declared, bounds)
    if found != declared:
        raise UnreadableDocument("wrong_type", f"the extension is {extension}, but the content is {found}")
    return declared


def _content_kind(data: bytes, declared: Kind, bounds: ChunkBounds) -> str:
    if b"%PDF-" in data[:1024] and data[:1024].lstrip().startswith(b"%PDF-"):
        return "pdf"
    if data.startswith(b"PK\x03\x04"):
        return _zip_kind(data, bounds)
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        if declared == "docx":  # Office wraps a password-protected document in an OLE container.
            raise UnreadableDocument("encrypted", "the file is protected by a password, or in an old Office format")
        return "an Office file of the old format"
    if declared in ("pdf", "docx"):
        return "something else"
    text = _decode(data)
    if _begins_page(text[:4096]):
        # Markdown may begin with HTML; only a plain text file must not be a page.
        return declared if declared == "markdown" else "html"
    if declared == "html" and not _TAG.search(text):
        return "text"
    return declared


def _begins_page(text: str) -> bool:
    """Whether a text begins with a page's first tag, but for white space and comments."""
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
    """Looks into an archive's directory (nothing is unpacked) and bounds what it would unpack to.

    What its end says of how many entries there are can be wrong: each has its mark, and these are counted before any
    is listed.
    """
    if data.count(_ENTRY) > _MAX_ENTRIES:
        raise UnreadableDocument("too_large", f"the archive has over {_MAX_ENTRIES:,} entries")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        raise UnreadableDocument("damaged", "the file is a damaged or truncated archive") from None
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > bounds.unpacked_bytes or unpacked > bounds.ratio * max(len(data), 10_000):
        raise UnreadableDocument("too_large", "the archive unpacks to too much")
    if any(entry.flag_bits & 1 for entry in entries):
        raise UnreadableDocument("encrypted", "the archive is encrypted")
    return "docx" if any(entry.filename == _DOCX_PART for entry in entries) else "a zip archive"


def _decode(data: bytes) -> str:
    """Decodes text: UTF-8, or UTF-16 that says so by its byte order mark."""
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableDocument("not_text", "the file is not valid UTF-8 text") from None
    if "\x00" in text:
        raise UnreadableDocument("not_text", "the file holds NUL characters, so it is not text")
    return text
