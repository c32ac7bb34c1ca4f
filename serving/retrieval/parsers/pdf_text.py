"""What PDFium finds on a page: runs of characters with their places, and the lines that are drawn."""

from __future__ import annotations

import ctypes
import math
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pypdfium2
from pypdfium2 import raw

from serving.retrieval.parsers.pdf_tags import TableTags, Tags, address
from serving.retrieval.parsers.pieces import HYPHEN, CellTag, DrawnLines, Piece, covered

_GAP = 0.75
"""Space between two words of a line that separates cells or columns, in heights of a line."""
_WORD_GAP = 0.2
"""Space between two parts of a text that may be divided."""
_SUPPOSED_GAP = 0.08
"""Space that is one between words where PDFium supposes that."""
_OTHER_LINE = 0.6
_DIRECTIONS = 8
"""Number of directions of text on a page that are read separately."""
_THIN = 3.0
"""Width of a drawn line in points, at most."""
_MANY = 20_000
"""Number of drawn objects above which a page is a drawing, whose lines are not those of tables."""
_CLOSE = 1.5
_BROKEN = 3.0
"""Distances in points between two parts of one line: across it, and along it."""

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


@dataclass(slots=True)
class Layer:
    """Text of one direction, upright; `top` is measured downwards from any place."""

    pieces: list[Piece] = field(default_factory=list)
    rules: DrawnLines = field(default_factory=DrawnLines)


def layers(page: pypdfium2.PdfPage, tags: TableTags, require_room: Callable[[int], None]) -> tuple[list[Layer], int]:
    """Returns a page's text, that of most characters' direction first, and the number of characters without meaning.

    Such characters are glyphs of a font that does not tell which letters they are. `require_room` is told how many
    characters there are before they are read, and raises if they are too many.
    """
    reader = _PageReader(page, tags.of_page(page))
    reader.read(require_room)
    found = sorted(reader.layers.items(), key=lambda item: -sum(len(piece.text) for piece in item[1].pieces))
    for angle, layer in found[:1]:
        layer.rules = _rules(page, angle)
    return [layer for _, layer in found], reader.unreadable


class _PageReader:
    """Collects characters as words, words as pieces, and pieces as layers."""

    def __init__(self, page: pypdfium2.PdfPage, tags: Tags) -> None:
        self._page = page
        self._tags = tags
        self._tag: CellTag | None = None
        self.layers: dict[int, Layer] = {}
        self.unreadable = 0
        self._angle = 0
        self._words: list[Piece] = []
        self._characters: list[str] = []
        self._box: Box = (0.0, 0.0, 0.0, 0.0)
        self._last: Box = self._box
        self._font = ""
        self._rtl = False
        self._supposed = False
        """Whether PDFium supposes a space here that the text does not have; it does even between letters that touch."""

    def read(self, require_room: Callable[[int], None]) -> None:
        text = self._page.get_textpage()
        count = text.count_chars()
        require_room(count)  # a page may show one object thousands of times
        for index in range(count):
            code = raw.FPDFText_GetUnicode(text, index)
            if code in (0x0A, 0x0D, 0x20) and raw.FPDFText_IsGenerated(text, index) == 1:
                self._supposed = True
            elif code in (0x0A, 0x0D):
                self._end_piece()
            elif code in (0x02, 0xFFFE) and raw.FPDFText_IsHyphen(text, index) == 1:
                continues = self._characters and self._characters[-1].isalpha()
                self._characters.append(HYPHEN if continues else "-")
            elif _is_character(code):
                self._add(text, index, chr(code))
            elif code not in (0x02, 0xFFFE):
                self.unreadable += 1
        self._end_piece()
        text.close()

    def _add(self, text: pypdfium2.PdfTextPage, index: int, character: str) -> None:
        if character.isspace():
            self._end_word(" ")
            return
        angle = round(math.degrees(raw.FPDFText_GetCharAngle(text, index))) % 360
        if angle not in self.layers and len(self.layers) >= _DIRECTIONS:
            angle = next(iter(self.layers))
        box = _turned(_box(text, index), angle)
        tag = self._tags.get(address(raw.FPDFText_GetTextObject(text, index))) if self._tags else None
        if (self._characters or self._words) and (
            angle != self._angle or tag != self._tag or self._apart(box, character)
        ):
            self._end_piece()
        elif self._characters:
            space = self._last[0] - box[2] if self._rtl else box[0] - self._last[2]
            if self._supposed and space > _SUPPOSED_GAP * (box[3] - box[1]):
                self._end_word(" ")
            elif space > _WORD_GAP * (box[3] - box[1]):
                self._end_word("")
        self._supposed = False
        if not self._characters:
            self._box = box
            if not self._words:
                self._angle, self._tag, self._rtl = angle, tag, False
                self._font = f"{_font(text, index)} {box[3] - box[1]:.0f}"
        else:
            self._box = _union(self._box, box)
        self._rtl = self._rtl or _is_rtl(character)
        self._last = box
        self._characters.append(character)

    def _apart(self, box: Box, character: str) -> bool:
        """Returns whether a character is on another line, after a wide space, or before its line's last one."""
        height = max(self._last[3] - self._last[1], box[3] - box[1], 1.0)
        if abs((self._last[1] + self._last[3]) - (box[1] + box[3])) / 2 > _OTHER_LINE * height:
            return True
        if self._rtl or _is_rtl(character):
            return box[0] - self._last[2] > _GAP * height or box[2] < self._last[0] - _GAP * height
        return box[0] - self._last[2] > _GAP * height or box[0] < self._last[0] - 0.5 * height

    def _end_word(self, space: str) -> None:
        if self._characters:
            left, bottom, right, top = self._box
            self._words.append(Piece("".join(self._characters) + space, left, -top, right, -bottom, font=self._font))
            self._characters.clear()

    def _end_piece(self) -> None:
        self._end_word("" if self._characters[-1:] == [HYPHEN] else " ")
        words, self._words = self._words, []
        text = "".join(word.text for word in words).strip()
        if not text:
            return
        box = min(w.left for w in words), min(w.top for w in words), max(w.right for w in words)
        piece = Piece(text, *box, max(w.bottom for w in words), tuple(words), self._font, tag=self._tag)
        self.layers.setdefault(self._angle, Layer()).pieces.append(piece)


def _is_character(code: int) -> bool:
    return (code == 0x09 or 0x20 <= code < 0x110000) and not 0xD800 <= code < 0xE000 and code not in (0xFFFE, 0xFFFF)


def _is_rtl(character: str) -> bool:
    return character > "\u0590" and unicodedata.bidirectional(character) in ("R", "AL")


def _box(text: pypdfium2.PdfTextPage, index: int) -> Box:
    """Returns a character's box with the height of its font, or that of its ink if the font has no height."""
    loose = raw.FS_RECTF()
    raw.FPDFText_GetLooseCharBox(text, index, loose)
    if loose.top - loose.bottom > 0.5 and loose.right - loose.left > 0.01:
        return loose.left, loose.bottom, loose.right, loose.top
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    raw.FPDFText_GetCharBox(text, index, left, right, bottom, top)
    return left.value, bottom.value, right.value, top.value


def _font(text: pypdfium2.PdfTextPage, index: int) -> str:
    name = ctypes.create_string_buffer(128)
    raw.FPDFText_GetFontInfo(text, index, name, 128, ctypes.c_int())
    return name.value.decode(errors="replace")


def _turned(box: Box, angle: int) -> Box:
    """Returns a box as it is when the page is turned so that text of this angle (degrees, clockwise) is upright."""
    if angle == 0:
        return box
    corners = [_turned_point(x, y, angle) for x in (box[0], box[2]) for y in (box[1], box[3])]
    across, up = [x for x, _ in corners], [y for _, y in corners]
    return min(across), min(up), max(across), max(up)


def _turned_point(x: float, y: float, angle: int) -> tuple[float, float]:
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return x * cosine - y * sine, x * sine + y * cosine


def _union(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _rules(page: pypdfium2.PdfPage, angle: int) -> DrawnLines:
    """Returns the lines on a page: strokes, thin areas, and the edges of other areas."""
    lines: list[Box] = []
    edges: list[Box] = []
    count = 0
    for path in page.get_objects(filter=(raw.FPDF_PAGEOBJ_PATH,), max_depth=4):
        for start, end, filled in _strokes(path):
            count += 1
            if count > _MANY:
                return DrawnLines()
            (x0, y0), (x1, y1) = (_turned_point(*point, angle) for point in (start, end))
            (edges if filled else lines).append((min(x0, x1), min(-y0, -y1), max(x0, x1), max(-y0, -y1)))
    across = [((y0 + y1) / 2, x0, x1) for x0, y0, x1, y1 in lines if y1 - y0 < _THIN < x1 - x0]
    down = [((x0 + x1) / 2, y0, y1) for x0, y0, x1, y1 in lines if x1 - x0 < _THIN < y1 - y0]
    borders = [((y0 + y1) / 2, x0, x1) for x0, y0, x1, y1 in edges if y1 - y0 < _THIN < x1 - x0]
    return DrawnLines(_merged(across), _merged(down), _merged(borders))


Point = tuple[float, float]


def _strokes(path: pypdfium2.PdfObject) -> Iterator[tuple[Point, Point, bool]]:
    """Yields the straight lines of a path, each with whether it is only the edge of a filled area.

    A filled area as thin as a line is one. Curves are none.
    """
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    raw.FPDFPath_GetDrawMode(path, fill, stroke)
    if not fill.value and not stroke.value:
        return
    matrix = path.get_matrix()
    container = path.container
    while container is not None:
        matrix = matrix.multiply(container.get_matrix())
        container = container.container
    x, y = ctypes.c_float(), ctypes.c_float()
    shape = _Shape()
    for index in range(raw.FPDFPath_CountSegments(path)):
        segment = raw.FPDFPath_GetPathSegment(path, index)
        raw.FPDFPathSegment_GetPoint(segment, x, y)
        point = matrix.on_point(x.value, y.value)
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            yield from shape.lines(not stroke.value)
            shape = _Shape()
        shape.add(point, curved=kind == raw.FPDF_SEGMENT_BEZIERTO)
        if raw.FPDFPathSegment_GetClose(segment) and shape.points[0] != shape.points[-1]:
            shape.add(shape.points[0])
    yield from shape.lines(not stroke.value)


class _Shape:
    """A part of a path: its points, the control points of its curves among them, and its straight lines."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._straight: list[tuple[Point, Point]] = []

    def add(self, point: Point, *, curved: bool = False) -> None:
        if self.points and not curved:
            self._straight.append((self.points[-1], point))
        self.points.append(point)

    def lines(self, filled: bool) -> Iterator[tuple[Point, Point, bool]]:
        if not self._straight:
            return
        left, right = min(p[0] for p in self.points), max(p[0] for p in self.points)
        bottom, top = min(p[1] for p in self.points), max(p[1] for p in self.points)
        if min(right - left, top - bottom) < _THIN:
            yield (left, bottom), (right, top), False
        else:
            yield from ((a, b, filled) for a, b in self._straight)


def _merged(lines: list[tuple[float, float, float]]) -> tuple[tuple[float, float, float], ...]:
    """Joins the parts of each line, which programs draw cell by cell."""
    groups: list[list[tuple[float, float, float]]] = []
    for line in sorted(lines):
        if groups and line[0] - groups[-1][-1][0] <= _CLOSE and line[0] - groups[-1][0][0] <= 2 * _CLOSE:
            groups[-1].append(line)
        else:
            groups.append([line])
    found = []
    for group in groups:
        at = sum(line[0] for line in group) / len(group)
        found += [(at, *part) for part in covered([(low, high) for _, low, high in group], _BROKEN)]
    return tuple(found)
