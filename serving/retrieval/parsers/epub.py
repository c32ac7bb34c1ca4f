"""EPUB: chapters in the order of the book's spine, each read as the page of HTML that it is."""

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
"""Algorithms that hide fonts alone."""
_EMPTY = re.compile(r"<(title|script|style|textarea|iframe|a|b|i|p|div|span)\b([^<>]*)/>")
"""An element that ends itself in XHTML, and would be open to the end of the page in HTML."""


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
            raise UnreadableDocument("encrypted", "the book is protected against being copied")


def _xml(data: bytes) -> etree._Element:
    """Entities of the document's own stay what they are: nothing unfolds, and nothing is fetched."""
    return etree.fromstring(data, etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True))
