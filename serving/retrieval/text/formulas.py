"""Whether the formulas of a workbook were ever computed: programs that only write workbooks leave that out."""

from __future__ import annotations

import io
import zipfile
from contextlib import suppress
from typing import IO
from xml.parsers import expat

_MOST_BYTES = 200_000_000


def never_computed(data: bytes) -> bool:
    """Returns whether a workbook has formulas and none of them has a value."""
    formulas = False
    # The file is untrusted, and calamine tells what is wrong with it.
    with suppress(Exception), zipfile.ZipFile(io.BytesIO(data)) as archive:
        for part in archive.infolist():
            sheet = part.filename.startswith("xl/worksheets/") and part.filename.endswith(".xml")
            if not sheet or part.file_size > _MOST_BYTES:
                continue
            with archive.open(part) as file:
                cells = _SheetFormulas()
                if cells.find_value(file):
                    return False
                formulas = formulas or cells.formulas
    return formulas


class _SheetFormulas:
    """The cells of a sheet, as they are read."""

    def __init__(self) -> None:
        self.formulas = False
        self._formula = self._in_value = self._computed = self._text_value = False

    def find_value(self, file: IO[bytes]) -> bool:
        """Reads a sheet up to its first formula with a value; returns whether there is one."""
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = _refuse
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        while (data := file.read(1 << 16)) and not self._computed:
            parser.Parse(data)
        return self._computed

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        match name.rpartition(":")[2]:
            case "c":
                self._formula = False
                self._text_value = attributes.get("t") in ("str", "b", "e")
            case "f":
                self.formulas = self._formula = True
                # The result of a formula can be an empty text.
                self._computed = self._computed or self._text_value
            case "v":
                self._in_value = True

    def _end(self, name: str) -> None:
        if name.rpartition(":")[2] == "v":
            self._in_value = False

    def _text(self, text: str) -> None:
        if self._in_value and self._formula and text.strip():
            self._computed = True


def _refuse(*_: object) -> None:
    raise ValueError("no workbook has a document type")
