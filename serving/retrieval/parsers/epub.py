"""EPUB: chapters in the order of the book's spine, each parsed as an HTML page."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from urllib.parse import unquote

from lxml import etree

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parsers import html
from serving.retrieval.types import Document

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
"""Algorithms that obfuscate only fonts."""
_EMPTY = re.compile(r"<(title|script|style|textarea|iframe|a|b|i|p|div|span)\b([^<>]*)/>")
"""A self-closing element of XHTML, which in HTML would stay open to the end of the page."""


def parse_epub(data: bytes, name: str, bounds: ChunkBounds) -> Document:
    builder = DocumentBuilder("epub", bounds)
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        _refuse_protected(book)
        [rootfile, *_] = _xml(book.read(_CONTAINER)).iter("{*}rootfile")
        place = rootfile.get("full-path", "")
        package = _xml(book.read(place))
        items = {item.get("id"): item for item in package.iter("{*}item")}
        for reference in package.iter("{*}itemref"):
            item = items[reference.get("idref")]
            if "html" not in item.get("media-type", ""):
                continue
            path = posixpath.normpath(posixpath.join(posixpath.dirname(place), unquote(item.get("href", ""))))
            html.add_page(builder, _EMPTY.sub(r"<\1\2></\1>", book.read(path).decode("utf-8-sig", "replace")))
        title = package.findtext("{*}metadata/{*}title") or ""
    return builder.build(name, title)


def _refuse_protected(book: zipfile.ZipFile) -> None:
    if _ENCRYPTION in book.namelist():
        methods = _xml(book.read(_ENCRYPTION)).iter("{*}EncryptionMethod")
        if any(method.get("Algorithm") not in _FONTS for method in methods):
            raise UnreadableDocument("encrypted", "the book has copy protection")


def _xml(data: bytes) -> etree._Element:
    """Parses XML without expanding the document's entities or fetching anything."""
    return etree.fromstring(data, etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True))
