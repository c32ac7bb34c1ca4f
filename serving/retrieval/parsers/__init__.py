"""The formats of documents: each module parses one, and is imported only for such files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from serving.retrieval.parsers.languages import LANGUAGES

OCR_NEEDED = "text in images is recognised where the group `ocr` is installed: `make ocr`"


@dataclass(frozen=True, slots=True)
class DocumentFormat:
    """A format: the extensions of its files, how their content is recognised, and the parser.

    `parser` is a function, as `module:function`; its arguments are the text, or the bytes if the format is `binary`,
    and the file's name. Files with one of `extensions` are collected from a folder of documents; those with one of
    `further_extensions` are read only when they are uploaded or named explicitly. `magic` is the beginning of a file,
    `part` an entry of a zip archive or OLE container that only such files have; a format with neither is text, unless
    its parser decodes.
    """

    parser: str
    extensions: tuple[str, ...]
    further_extensions: tuple[str, ...] = ()
    magic: tuple[bytes, ...] = ()
    part: str = ""
    container: Literal["zip", "ole"] = "zip"
    decodes: bool = False
    """Whether the parser gets the bytes of text, because the text itself declares its encoding."""
    may_begin_as_page: bool = False
    """Whether a text may begin with the tags of an HTML page."""
    requires: str = ""
    """A module that the parser needs and that is not installed everywhere."""
    requirement: str = ""
    """Error message if that module is missing."""

    @property
    def binary(self) -> bool:
        return bool(self.magic or self.part or self.decodes)


FORMATS: dict[str, DocumentFormat] = {
    "markdown": DocumentFormat(
        "serving.retrieval.parsers.markdown:parse_markdown", (".md", ".markdown"), may_begin_as_page=True
    ),
    "text": DocumentFormat("serving.retrieval.parsers.plain:parse_plain", (".txt",), (".text", ".rst", ".log")),
    "html": DocumentFormat(
        "serving.retrieval.parsers.html:parse_html", (".html", ".htm"), (".xhtml",), may_begin_as_page=True
    ),
    "pdf": DocumentFormat("serving.retrieval.parsers.pdf:parse_pdf", (".pdf",), magic=(b"%PDF-",)),
    "docx": DocumentFormat("serving.retrieval.parsers.docx:parse_docx", (".docx",), part="word/document.xml"),
    "pptx": DocumentFormat(
        "serving.retrieval.parsers.pptx:parse_pptx", (".pptx",), (".pptm",), part="ppt/presentation.xml"
    ),
    "xlsx": DocumentFormat("serving.retrieval.parsers.xlsx:parse_xlsx", (".xlsx",), (".xlsm",), part="xl/workbook.xml"),
    "epub": DocumentFormat("serving.retrieval.parsers.epub:parse_epub", (".epub",), part="META-INF/container.xml"),
    "eml": DocumentFormat("serving.retrieval.parsers.mail:parse_eml", (".eml",), decodes=True),
    "msg": DocumentFormat(
        "serving.retrieval.parsers.mail:parse_msg", (".msg",), part="__properties_version1.0", container="ole"
    ),
    "csv": DocumentFormat("serving.retrieval.parsers.csv:parse_csv", (), (".csv", ".tsv")),
    "json": DocumentFormat("serving.retrieval.parsers.json:parse_json", (), (".json",)),
    "jsonl": DocumentFormat("serving.retrieval.parsers.json:parse_jsonl", (), (".jsonl", ".ndjson")),
    "image": DocumentFormat(
        "serving.retrieval.parsers.ocr:parse_image",
        (),
        (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"),
        magic=(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"RIFF", b"BM"),
        requires="rapidocr",
        requirement=OCR_NEEDED,
    ),
    **{
        language: DocumentFormat("serving.retrieval.parsers.code:parse_code", (), extensions, may_begin_as_page=True)
        for language, extensions in LANGUAGES.items()
    },
}
"""Formats by the kind of their documents."""


def kinds() -> dict[str, str]:
    """Returns the kind of file for each extension."""
    return {
        extension: kind
        for kind, format in FORMATS.items()
        for extension in (*format.extensions, *format.further_extensions)
    }


def folder_extensions() -> tuple[str, ...]:
    """Returns the extensions of files that are collected from a folder of documents."""
    return tuple(extension for format in FORMATS.values() for extension in format.extensions)
