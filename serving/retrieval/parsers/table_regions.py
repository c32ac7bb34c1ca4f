"""Finds lines that may be a table without drawn lines, by the gaps between their texts.

A line whose texts stand apart begins a region; the lines below belong to it as long as they leave a gap free that all
lines above leave free. So a heading beside a table, which no row continues, is no column of it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from serving.retrieval.parsers.pieces import Interval, PageWork, TextLine, covered
from serving.retrieval.parsers.table_rows import LEADING

SEGMENT = 0.7
"""Space between two words that begins a table, in heights of a line."""
GUTTER = 0.2
"""Width of a gap between two columns, at least."""
_BREAK = 2.0
"""How much wider than usual the space above a line must be to begin another table."""
_SEEN = 20
"""Number of lines above that a line is compared with."""
_GAP_STEPS = 10
"""Steps of work that it takes to see whether a text leaves a gap free."""


@dataclass(slots=True)
class Region:
    """Lines that may be a table. `cover` is the part of the width that their texts cover.

    `spans` are the numbers of lines whose texts cross gaps of the others; they are not part of `cover`.
    """

    lines: list[TextLine]
    cover: list[Interval]
    spans: set[int] = field(default_factory=set)
    headed: bool = True
    """Whether the next line whose texts stand apart is the first one below the line at the top."""

    def gutters(self) -> list[Interval]:
        return gaps(self.cover)

    def take(self, line: TextLine, work: PageWork) -> bool:
        """Adds the line below, unless it cannot be in a table with those above; returns whether it did."""
        here = line.intervals()
        work.spend(len(self.cover) * (_GAP_STEPS + len(here)))
        gutters = self.gutters()
        closed = [gap for gap in gutters if not _remaining(gap, here, line.height)]
        outside = here[-1][1] < self.cover[0][0] or here[0][0] > self.cover[-1][1]
        if len(here) == 1 and (closed or outside):
            return False
        first_below = self.headed and _is_apart(line)
        self.headed = self.headed and not first_below
        if first_below and self._names_groups_of(line):
            if closed:
                return False
            self.spans = set(range(len(self.lines)))
            self.cover = here
        elif closed and len(closed) == len(gutters):
            return False
        elif closed:
            self.spans.add(len(self.lines))
        else:
            self.cover = covered([*self.cover, *here])
        self.lines.append(line)
        return True

    def _names_groups_of(self, line: TextLine) -> bool:
        """Returns whether texts of the line at the top stand over gaps of another: each names several columns."""
        top = self.lines[0].intervals()
        return not all(_remaining(gap, top, line.height) for gap in gaps(line.intervals()))


def region_from(
    lines: Sequence[TextLine], at: int, others: Sequence[float], work: PageWork
) -> tuple[Region | None, int]:
    """Returns the lines from `at` that may be a table, and the number of the line after them.

    `others` are the heights of tables that are already found: no table is on both sides of one.
    """
    if not _is_apart(lines[at]):
        return None, at + 1
    region = Region([lines[at]], lines[at].intervals())
    after = at + 1
    while after < len(lines):
        line = lines[after]
        following = lines[after + 1] if after + 1 < len(lines) else None
        if bisect_right(others, region.lines[-1].middle) < bisect_left(others, line.middle):
            break
        if _begins_another(region, line, following, work) or not region.take(line, work):
            break
        after += 1
    _trim(region)
    start = _above(lines, at, region)
    if start < at:
        region.lines[:0] = lines[start:at]
        region.spans = {number + at - start for number in region.spans}
    return region, after


def _begins_another(region: Region, line: TextLine, following: TextLine | None, work: PageWork) -> bool:
    """Returns whether the space above a line is so wide that a table does not continue there."""
    last = region.lines[-1]
    space = line.top - last.bottom
    height = min(line.height, last.height)
    spaces = [b.top - a.bottom for a, b in pairwise(region.lines[-_SEEN:])]
    if not spaces and following is not None:
        spaces = [following.top - line.bottom]
    usual = max(median(spaces) if spaces else 0.0, max(spaces[-6:], default=0.0) / _BREAK, 0.3 * height)
    if space <= _BREAK * usual:
        return False
    if space > 2.2 * height:
        return True
    return bool(spaces) and len(region.lines) > 1 and space > 0.9 * height and not _is_aligned(region, line, work)


def _is_aligned(region: Region, line: TextLine, work: PageWork) -> bool:
    """Returns whether a line's texts begin or end where columns do, not only in the first one."""
    here = line.intervals(SEGMENT)
    if here[-1][1] <= region.cover[0][1]:
        return False
    near = 0.3 * line.height
    edges = [(a, b) for above in region.lines[-_SEEN:] for a, b in above.intervals(SEGMENT)]
    work.spend(len(here) * len(edges))
    return all(
        any(abs(a - c) < near or abs(b - d) < near or abs(a + b - c - d) < near for c, d in edges) for a, b in here
    )


def _trim(region: Region) -> None:
    """Takes lines with one text off the end, unless they continue a cell that is not in the first column."""
    while len(region.lines) > 1:
        last, above = region.lines[-1], region.lines[-2]
        here = last.intervals(SEGMENT)
        if len(here) > 1:
            return
        near = last.middle - above.middle <= LEADING * min(last.height, above.height)
        if near and region.gutters() and here[0][0] >= region.gutters()[0][0]:
            return
        region.spans.discard(len(region.lines) - 1)
        region.lines.pop()


def _above(lines: Sequence[TextLine], at: int, region: Region) -> int:
    """Returns where a table begins whose header's upper lines have only one text, beyond the first column."""
    start = at
    gutters = region.gutters()
    while start > max(at - 2, 0) and gutters:
        line = lines[start - 1]
        here = line.intervals()
        near = lines[start].middle - line.middle <= LEADING * min(line.height, lines[start].height)
        inside = gutters[0][0] <= here[0][0] and here[-1][1] <= region.cover[-1][1]
        if not near or not inside or not all(_remaining(gap, here, line.height) for gap in gutters):
            break
        start -= 1
    return start


def parts_of(region: Region) -> list[tuple[list[TextLine], set[int]]]:
    """Divides a region where a line repeats the fonts of the first, which is another header, and other rows follow."""
    lines = region.lines
    fonts = [{piece.font for piece in line.pieces} for line in lines]
    starts = [0]
    usual = [number for number in range(1, len(lines)) if not fonts[number] <= fonts[0]]
    if "" not in fonts[0] and 3 * len(usual) >= 2 * (len(lines) - 1):
        for number in range(2, len(lines) - 1):
            here = lines[number]
            if fonts[number] <= fonts[0] and not fonts[number + 1] <= fonts[0] and not fonts[number - 1] <= fonts[0]:
                texts = [piece.text for piece in here.pieces]
                if len(here.intervals(SEGMENT)) > 1 and not any(any(map(str.isdecimal, text)) for text in texts):
                    starts.append(number)
    parts = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        part = Region(lines[start:end], region.cover, {n - start for n in region.spans if start <= n < end})
        _trim(part)
        parts.append((part.lines, part.spans))
    return parts


def _is_apart(line: TextLine) -> bool:
    return len(line.intervals(SEGMENT)) > 1


def _remaining(gap: Interval, intervals: Sequence[Interval], height: float) -> bool:
    """Returns whether texts leave enough of a gap free."""
    inside = [(max(a, gap[0]), min(b, gap[1])) for a, b in intervals if b > gap[0] and a < gap[1]]
    edges = [gap[0], *(edge for part in covered(inside) for edge in part), gap[1]]
    return max(b - a for a, b in zip(edges[::2], edges[1::2], strict=True)) >= min(GUTTER * height, gap[1] - gap[0])


def gaps(intervals: Sequence[Interval]) -> list[Interval]:
    """Returns what is between neighbours."""
    return [(a[1], b[0]) for a, b in pairwise(intervals)]
