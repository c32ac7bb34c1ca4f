"""Text on a page with its place: runs of words, the rules beside them, and the tables that are found in both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

HYPHEN = "\x02"
"""Ending of a piece whose last word continues on the next line."""

_SAME_LINE = 0.4
"""Distance between the middles of two pieces on one line, at most, in heights of the lower one."""
_WORD_SPACE = 0.3
"""Space between two words of one text, at most, in heights of a line."""

Interval = tuple[float, float]


class TooMuchWork(Exception):
    """The arrangement of a page takes more steps than a page may."""


class PageWork:
    """Steps that may still be taken to arrange a page: each looks at one text, word, column, line or cell."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Call this before a loop of so many steps. Raises `TooMuchWork` if they are too many."""
        if steps > self.left:
            raise TooMuchWork
        self.left -= steps


@dataclass(frozen=True, slots=True)
class CellTag:
    """A cell as a file describes it: its table, its first and last row and column, and whether it names others."""

    table: int
    top: int
    bottom: int
    first: int
    last: int
    names: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """Text on one line, and its box: `top` is measured downwards.

    `words` are its parts with their own boxes, in reading order, each with the space after it; a piece without any
    cannot be divided. `font` identifies its typeface and size, "" if that is unknown. `tag` is the cell that the file
    says the text is in. A piece with a `table` stands for that, and has no text.
    """

    text: str
    left: float
    top: float
    right: float
    bottom: float
    words: tuple[Piece, ...] = ()
    font: str = ""
    table: Table | None = None
    tag: CellTag | None = None

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2

    @property
    def center(self) -> float:
        return (self.left + self.right) / 2


REPEATED = 100
"""Longest text of a cell that is repeated in each row that the cell spans; longer text is in the first one."""


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a table, its column names if they are known, and the places of its columns.

    `before` is text beside the table, which is read before it.
    """

    rows: list[list[str]]
    columns: tuple[Interval, ...]
    header: list[str] | None = None
    before: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    """All of its text, each cell once: what the table must not lose."""


@dataclass(frozen=True, slots=True)
class DrawnLines:
    """Lines on a page: horizontal ones as (y, left, right), vertical ones as (x, top, bottom).

    `edges` are the horizontal borders of areas with a background, which are no drawn lines.
    """

    horizontal: tuple[tuple[float, float, float], ...] = ()
    vertical: tuple[tuple[float, float, float], ...] = ()
    edges: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TextLine:
    """Pieces side by side, from left to right."""

    pieces: list[Piece]
    top: float = field(init=False)
    bottom: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "top", min(piece.top for piece in self.pieces))
        object.__setattr__(self, "bottom", max(piece.bottom for piece in self.pieces))

    @property
    def middle(self) -> float:
        return self.pieces[0].middle

    @property
    def height(self) -> float:
        return min(piece.height for piece in self.pieces)

    def words(self) -> Iterator[Piece]:
        """Yields the words, each with the space after it."""
        for piece in self.pieces:
            yield from piece.words or (replace(piece, text=piece.text + " "),)

    def intervals(self, space: float = _WORD_SPACE) -> list[Interval]:
        """Returns the parts of the width that texts cover; `space` (in heights) divides two texts."""
        limit = space * self.height
        return covered(((word.left, word.right) for word in self.words()), limit)


def lines_of(pieces: Sequence[Piece]) -> list[TextLine]:
    """Groups pieces that are side by side into lines, from the top."""
    lines: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.middle):
        if lines and piece.middle - lines[-1][0].middle < _SAME_LINE * min(piece.height, lines[-1][0].height):
            lines[-1].append(piece)
        else:
            lines.append([piece])
    return [TextLine(sorted(line, key=lambda piece: piece.left)) for line in lines]


def covered(intervals: Iterator[Interval] | Sequence[Interval], apart: float = 0.0) -> list[Interval]:
    """Returns the union of intervals from left to right; those at most `apart` from each other are joined."""
    found: list[Interval] = []
    for left, right in sorted(intervals):
        if found and left - found[-1][1] <= apart:
            found[-1] = found[-1][0], max(found[-1][1], right)
        else:
            found.append((left, right))
    return found


def joined(texts: Sequence[str]) -> str:
    """Returns a cell's lines as one text; a word that continues on the next line is made whole."""
    parts: list[str] = []
    for text in filter(None, map(str.strip, texts)):
        if parts and parts[-1].endswith(HYPHEN):
            parts[-1] = parts[-1].removesuffix(HYPHEN)
        elif parts:
            parts.append(" ")
        parts.append(text)
    return "".join(parts).removesuffix(HYPHEN)
