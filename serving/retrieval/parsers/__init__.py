"""The formats of documents; each module here reads one, and is imported only when such a file comes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DocumentFormat:
    """How files of a format are called, how their content is recognised, and what reads them.

    `parser` is a function, as `module:function`; it is given text, or bytes where the format is `binary`. Files with
    one of `extensions` are taken out of a folder of documents; those with one of `further_extensions` are read where
    they are uploaded or named themselves. `magic` is what a file begins with, `part` an entry of a zip archive that
    only such files have; a format with neither is text.
    """

    parser: str
    extensions: tuple[str, ...]
    further_extensions: tuple[str, ...] = ()
    magic: bytes = b""
    part: str = ""
    may_begin_as_page: bool = False
    """Whether a text may begin with the tags of an HTML page."""

    @property
    def binary(self) -> bool:
        return bool(self.magic or self.part)


FORMATS: dict[str, DocumentFormat] = {
    "markdown": DocumentFormat(
        "serving.retrieval.parsers.markdown:parse_markdown", (".md", ".markdown"), may_begin_as_page=True
    ),
    "text": DocumentFormat("serving.retrieval.parsers.plain:parse_plain", (".txt",), (".text", ".rst", ".log", ".csv")),
    "html": DocumentFormat("serving.retrieval.parsers.html:parse_html", (".html", ".htm"), may_begin_as_page=True),
    "pdf": DocumentFormat("serving.retrieval.parsers.pdf:parse_pdf", (".pdf",), magic=b"%PDF-"),
    "docx": DocumentFormat("serving.retrieval.parsers.docx:parse_docx", (".docx",), part="word/document.xml"),
}
"""By the kind of their documents."""


def kinds() -> dict[str, str]:
    """Returns the kind of file that each extension stands for."""
    return {
        extension: kind
        for kind, format in FORMATS.items()
        for extension in (*format.extensions, *format.further_extensions)
    }


def folder_extensions() -> tuple[str, ...]:
    """Returns the extensions of files that are taken out of a folder of documents."""
    return tuple(extension for format in FORMATS.values() for extension in format.extensions)
